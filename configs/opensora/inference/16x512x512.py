"""Open-Sora 1.0: 16 frames of 512 x 512 pixels."""

_base_ = ["../../base/inference.py", "../../base/t5.py"]

num_frames = 16
fps = 24 // 3
image_size = (512, 512)

model = dict(
    type="STDiT-XL/2",
    space_scale=1.0,
    time_scale=1.0,
    enable_flash_attn=True,
    enable_layernorm_kernel=True,
    from_pretrained="PRETRAINED_MODEL",
)
vae = dict(micro_batch_size=2)
scheduler = dict(type="iddpm", num_sampling_steps=100, cfg_scale=7.0)

prompt_path = "assets/texts/t2v_samples.txt"
