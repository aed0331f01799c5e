"""PixArt on videos of 64 frames.

Version 1.1 of the reference takes 256 x 256 pixels here, 1.0 took 512 x 512:
--image-size 512 512.
"""

_base_ = ["16x256x256.py"]

dataset = dict(num_frames=64)
model = dict(space_scale=1.0, time_scale=2 / 3, from_pretrained=None)
vae = dict(micro_batch_size=128)
ckpt_every = 250
batch_size = 4
