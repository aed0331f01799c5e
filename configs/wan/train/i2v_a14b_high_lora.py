"""Wan 2.2 A14B, image to video: adapters of the transformer of much noise. docs/open_models.md"""

_base_ = ["t2v_a14b_high_lora.py"]

model = dict(from_pretrained="Wan-AI/Wan2.2-I2V-A14B-Diffusers")
vae = dict(from_pretrained="Wan-AI/Wan2.2-I2V-A14B-Diffusers")
text_encoder = dict(from_pretrained="Wan-AI/Wan2.2-I2V-A14B-Diffusers")
# the first frame is stored beside the latents: encode.given of a workflow
