"""LTX-Video: 5 seconds of 512 x 704 pixels, with the steps of its own pipeline."""

num_frames = 121  # 1 + a multiple of 8
fps = 24
image_size = (512, 704)  # height, width: multiples of 32

model = dict(type="diffusers", from_pretrained="Lightricks/LTX-Video")
vae = dict(from_pretrained="Lightricks/LTX-Video")
text_encoder = dict(type="t5-ltx", from_pretrained="Lightricks/LTX-Video", model_max_length=128)
scheduler = dict(
    type="flow-match",
    solver="euler-even",
    log_shift={1024: 0.95, 4096: 2.05},
    shift_terminal=0.1,
    num_sampling_steps=50,
    cfg_scale=3.0,
)

dtype = "bf16"
batch_size = 1
seed = 42
save_dir = "samples"
prompt_path = "assets/texts/t2v_samples.txt"
