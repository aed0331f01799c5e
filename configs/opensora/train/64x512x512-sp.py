"""As 64x512x512 with each video on two GPUs.

Version 1.1 of the reference takes 16 frames here, 1.0 took 64: --num-frames 64.
"""

_base_ = ["64x512x512.py"]

dataset = dict(num_frames=16)
sp_size = 2
vae = dict(micro_batch_size=None)
ckpt_every = 1000
batch_size = 1
