"""Wan 2.1 14B, image to video: 5 seconds of 480 x 832 pixels that begin with a picture."""

_base_ = ["t2v_1_3b.py"]

model = dict(from_pretrained="Wan-AI/Wan2.1-I2V-14B-480P-Diffusers")
vae = dict(from_pretrained="Wan-AI/Wan2.1-I2V-14B-480P-Diffusers")
text_encoder = dict(from_pretrained="Wan-AI/Wan2.1-I2V-14B-480P-Diffusers")
image_encoder = dict(from_pretrained="Wan-AI/Wan2.1-I2V-14B-480P-Diffusers")

# a table with the columns text and reference_path takes their place: --prompt-path mine/prompts.csv
prompt_path = None
prompt = ["A huge wave rolls in and breaks."]
reference_path = ["assets/images/condition/wave.png"]
mask_strategy = "0"  # of all prompts with references
