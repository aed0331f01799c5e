"""Open-Sora 1.0: 360 frames of 512 x 512 pixels, each video on two GPUs."""

_base_ = ["64x512x512.py"]

dataset = dict(num_frames=360)
sp_size = 2
vae = dict(micro_batch_size=128)
batch_size = 1
