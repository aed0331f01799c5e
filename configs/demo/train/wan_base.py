"""The demo's Wan in one stage of a second, for `make demo-wan-lora`; 600 steps of 16 clips."""

_base_ = ["wan_stage1.py"]

num_steps = 600  # of the 624 in 16 epochs
epochs = 16
lr_decay = "linear"
