"""CogVideoX 2B: 6 seconds of 480 x 720 pixels, with the steps of its own pipeline."""

num_frames = 49  # 1 + a multiple of 8
fps = 8
image_size = (480, 720)  # height, width: multiples of 16

model = dict(type="diffusers", from_pretrained="zai-org/CogVideoX-2b")
vae = dict(from_pretrained="zai-org/CogVideoX-2b")
text_encoder = dict(
    type="t5-cogvideox", from_pretrained="zai-org/CogVideoX-2b", model_max_length=226
)
# of 5B: snr_shift=1.0, solver="dpm"
scheduler = dict(
    type="v-prediction", snr_shift=3.0, solver="ddim", num_sampling_steps=50, cfg_scale=6.0
)

dtype = "bf16"
batch_size = 1
seed = 42
save_dir = "samples"
prompt_path = "assets/texts/t2v_samples.txt"
