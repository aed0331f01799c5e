"""A stage that is long enough to be disturbed, of which nothing is kept but what a stop keeps."""

_base_ = ["../data/configs/stage1.py"]

epochs = 50
num_steps = 12
ckpt_every = 1000
