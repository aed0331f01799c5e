"""Wan 2.2 A14B, image to video: adapters of the transformer of little noise. docs/open_models.md"""

_base_ = ["i2v_a14b_high_lora.py"]

model = dict(part="transformer_2")
