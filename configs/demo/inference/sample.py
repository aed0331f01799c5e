"""Samples of the demo model: 16 frames of 32x32 pixels, enlarged to 256 for the eye."""

num_frames = 16
fps = 8
image_size = (32, 32)  # height, width

# the architecture stands in config.py beside the checkpoint, and so do the settings of the
# diffusion process (its shift of the timesteps)
vae = dict(type="VideoAutoencoderKL")
text_encoder = dict(type="t5")
scheduler = dict(type="rflow", num_sampling_steps=20, cfg_scale=4.0)
dtype = "bf16"  # fp32 on a processor without bf16 instructions

batch_size = 16
seed = 42
num_samples = 1  # per prompt
display_size = 256  # short side of the files, in pixels
display_resize = "lanczos"
