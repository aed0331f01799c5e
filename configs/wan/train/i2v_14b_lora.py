"""Wan 2.1 14B, image to video: adapters on one card. docs/open_models.md"""

_base_ = ["t2v_1_3b_lora.py"]

model = dict(from_pretrained="Wan-AI/Wan2.1-I2V-14B-480P-Diffusers")
vae = dict(from_pretrained="Wan-AI/Wan2.1-I2V-14B-480P-Diffusers")
text_encoder = dict(from_pretrained="Wan-AI/Wan2.1-I2V-14B-480P-Diffusers")
# the first frame is stored beside the latents: encode.given and encode.image_encoder of a workflow
