"""LTX-2: 5 seconds of 512 x 768 pixels without sound, with the steps of its own pipeline."""

num_frames = 121  # 1 + a multiple of 8
fps = 24
image_size = (512, 768)  # height, width: multiples of 32

model = dict(type="diffusers", from_pretrained="Lightricks/LTX-2")
vae = dict(from_pretrained="Lightricks/LTX-2")
text_encoder = dict(type="gemma-ltx2", from_pretrained="Lightricks/LTX-2", model_max_length=1024)
scheduler = dict(
    type="flow-match",
    solver="euler-even",
    log_shift={1024: 0.95, 4096: 2.05},
    shift_terminal=0.1,
    num_sampling_steps=40,
    cfg_scale=4.0,
)

dtype = "bf16"
batch_size = 1
seed = 42
save_dir = "samples"
prompt_path = "assets/texts/t2v_samples.txt"
