"""Samples of the demo model with the transformer of Wan."""

_base_ = ["sample.py"]

text_encoder = dict(type="umt5")
# captions were never dropped in training, so there is no "without" to guide away from
scheduler = dict(_delete_=True, type="flow-match", num_sampling_steps=20, cfg_scale=1.0)
dtype = "fp32"
