"""Open-Sora 1.1: 16 frames of 240 x 426 pixels, every third one of 24 per second."""

_base_ = ["../../base/inference.py", "../../base/t5.py"]

num_frames = 16
frame_interval = 3  # files play at fps / frame_interval
fps = 24
image_size = (240, 426)  # height, width

multi_resolution = "STDiT2"  # the model is told the size
model = dict(
    type="STDiT2-XL/2",
    from_pretrained="hpcai-tech/OpenSora-STDiT-v2-stage3",
    input_sq_size=512,
    qk_norm=True,
    enable_flash_attn=True,
    enable_layernorm_kernel=True,
)
vae = dict(cache_dir=None, micro_batch_size=4)
text_encoder = dict(cache_dir=None, model_max_length=200)
scheduler = dict(type="iddpm", num_sampling_steps=100, cfg_scale=7.0, cfg_channel=3)

prompt_path = "assets/texts/t2v_samples.txt"
prompt = None
batch_size = 1
