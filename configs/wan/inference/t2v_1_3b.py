"""Wan 2.1 1.3B: 5 seconds of 480 x 832 pixels, with the steps of its own pipeline."""

num_frames = 81  # 1 + a multiple of 4
fps = 16
image_size = (480, 832)  # height, width: multiples of 16

model = dict(type="diffusers", from_pretrained="Wan-AI/Wan2.1-T2V-1.3B-Diffusers")
vae = dict(from_pretrained="Wan-AI/Wan2.1-T2V-1.3B-Diffusers")
text_encoder = dict(
    type="umt5", from_pretrained="Wan-AI/Wan2.1-T2V-1.3B-Diffusers", model_max_length=512
)
scheduler = dict(type="flow-match", shift=3.0, solver="unipc", num_sampling_steps=50, cfg_scale=5.0)

dtype = "bf16"
batch_size = 1
seed = 42
save_dir = "samples"
prompt_path = "assets/texts/t2v_samples.txt"
