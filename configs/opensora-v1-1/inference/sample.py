"""Open-Sora 1.1: 16 frames of 240 x 426 pixels."""

num_frames = 16
fps = 8  # 24 frames per second, every third one
image_size = (240, 426)  # height, width

vae = dict(type="VideoAutoencoderKL", micro_batch_size=4)
text_encoder = dict(type="t5", model_max_length=200)
scheduler = dict(type="iddpm", num_sampling_steps=100, cfg_scale=7.0, cfg_channel=3)
dtype = "bf16"

batch_size = 1
seed = 42
