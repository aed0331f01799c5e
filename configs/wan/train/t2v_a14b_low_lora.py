"""Wan 2.2 A14B, text to video: adapters of the transformer of little noise. docs/open_models.md"""

_base_ = ["t2v_a14b_high_lora.py"]

model = dict(part="transformer_2")
