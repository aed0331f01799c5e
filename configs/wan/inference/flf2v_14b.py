"""Wan 2.1 14B, from a first frame to a last one: 5 seconds of 720 x 1280 pixels."""

_base_ = ["t2v_1_3b.py"]

image_size = (720, 1280)  # height, width: multiples of 16

model = dict(from_pretrained="Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers")
vae = dict(from_pretrained="Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers")
text_encoder = dict(from_pretrained="Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers")
image_encoder = dict(from_pretrained="Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers")
scheduler = dict(shift=16.0)  # as the script of Wan itself

# a table with the columns text and reference_path takes their place: --prompt-path mine/prompts.csv
prompt_path = None
prompt = ["The sun sets."]
reference_path = ["assets/images/condition/sunset1.png;assets/images/condition/sunset2.png"]
mask_strategy = "0;0,1,0,-1"  # of all prompts with references
