"""Wan 2.2 5B, image to video: 5 seconds of 704 x 1280 pixels that begin with a picture."""

_base_ = ["t2v_1_3b.py"]

num_frames = 121  # 1 + a multiple of 4
fps = 24
image_size = (704, 1280)  # height, width: multiples of 32

model = dict(from_pretrained="Wan-AI/Wan2.2-TI2V-5B-Diffusers")
vae = dict(from_pretrained="Wan-AI/Wan2.2-TI2V-5B-Diffusers")
text_encoder = dict(from_pretrained="Wan-AI/Wan2.2-TI2V-5B-Diffusers")
scheduler = dict(shift=5.0)

prompt_path = None
prompt = ["A huge wave rolls in and breaks."]
reference_path = ["assets/images/condition/wave.png"]
mask_strategy = "0"  # of all prompts with references
