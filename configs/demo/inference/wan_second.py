"""Samples of a Wan of `make demo-wan-lora`: the second that it was trained on."""

_base_ = ["wan.py"]

num_frames = 8
