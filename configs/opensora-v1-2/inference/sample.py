"""Open-Sora 1.2: 51 frames of 240 x 426 pixels, 24 a second."""

_base_ = ["../../base/inference.py", "../../base/t5.py"]

num_frames = 51  # 17 at a time, or 1 + a multiple of 4 beyond them
fps = 24
image_size = (240, 426)  # height, width

multi_resolution = "STDiT2"  # the model is told the size
model = dict(
    type="STDiT3-XL/2",
    from_pretrained="hpcai-tech/OpenSora-STDiT-v3",
    qk_norm=True,
    enable_flash_attn=True,
    enable_layernorm_kernel=True,
)
vae = dict(
    _delete_=True,
    type="OpenSoraVAE_V1_2",
    from_pretrained="hpcai-tech/OpenSora-VAE-v1.2",
    micro_frame_size=17,
    micro_batch_size=4,
)
text_encoder = dict(model_max_length=300)
scheduler = dict(type="rflow", use_timestep_transform=True, num_sampling_steps=30, cfg_scale=7.0)

prompt_path = "assets/texts/t2v_samples.txt"
batch_size = 1
