"""Open-Sora 1.0: 64 frames of 512 x 512 pixels."""

_base_ = ["16x512x512.py"]

num_frames = 64
fps = 24 // 2

model = dict(time_scale=2 / 3)  # frame interval 2, trained before at 3
vae = dict(micro_batch_size=128)
batch_size = 1
