"""Few and small samples."""

num_frames = 16
fps = 8
image_size = (32, 32)
vae = dict(type="VideoAutoencoderKL")
text_encoder = dict(type="t5")
scheduler = dict(type="rflow", num_sampling_steps=2, cfg_scale=2.0)
dtype = "fp32"
batch_size = 16
display_size = 64
