"""Wan 2.2 A14B, text to video: adapters of the transformer of much noise. docs/open_models.md"""

_base_ = ["t2v_1_3b_lora.py"]

model = dict(from_pretrained="Wan-AI/Wan2.2-T2V-A14B-Diffusers", part="transformer")
vae = dict(from_pretrained="Wan-AI/Wan2.2-T2V-A14B-Diffusers")
text_encoder = dict(from_pretrained="Wan-AI/Wan2.2-T2V-A14B-Diffusers")
scheduler = dict(shift=5.0, sample_method="uniform")
