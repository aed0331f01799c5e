"""Open-Sora 1.0: 16 frames of 256 x 256 pixels."""

_base_ = ["../../base/inference.py", "../../base/t5.py"]

num_frames = 16
fps = 24 // 3  # every third frame of 24 per second
image_size = (256, 256)  # height, width

model = dict(
    type="STDiT-XL/2",
    space_scale=0.5,  # height over that of the images the model began with, 512
    time_scale=1.0,
    enable_flash_attn=True,
    enable_layernorm_kernel=True,
    from_pretrained="PRETRAINED_MODEL",  # --ckpt-path FILE
)
vae = dict(micro_batch_size=4)
scheduler = dict(type="iddpm", num_sampling_steps=100, cfg_scale=7.0, cfg_channel=3)

prompt_path = "assets/texts/t2v_samples.txt"
prompt = None
batch_size = 1
