"""Open-Sora 1.0: 64 frames of 512 x 512 pixels."""

_base_ = ["16x512x512.py"]

dataset = dict(num_frames=64)
model = dict(time_scale=2 / 3)
vae = dict(micro_batch_size=64)
ckpt_every = 250
batch_size = 4
