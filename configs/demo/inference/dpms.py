"""Samples of the demo model of noise prediction, by dpm-solver."""

_base_ = ["sample.py"]

scheduler = dict(_delete_=True, type="dpm-solver", num_sampling_steps=20, cfg_scale=4.0)
