"""Samples of the demo model of noise prediction, by iddpm."""

_base_ = ["sample.py"]

scheduler = dict(_delete_=True, type="iddpm", num_sampling_steps=100, cfg_scale=4.0)
