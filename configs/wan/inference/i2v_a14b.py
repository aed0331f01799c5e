"""Wan 2.2 A14B, image to video: 5 seconds of 480 x 832 pixels, by two transformers."""

_base_ = ["t2v_a14b.py"]

model = dict(
    from_pretrained="Wan-AI/Wan2.2-I2V-A14B-Diffusers",
    other="Wan-AI/Wan2.2-I2V-A14B-Diffusers",  # the one that is not the checkpoint
)
vae = dict(from_pretrained="Wan-AI/Wan2.2-I2V-A14B-Diffusers")
text_encoder = dict(from_pretrained="Wan-AI/Wan2.2-I2V-A14B-Diffusers")
scheduler = dict(cfg_scale=3.5, cfg_scale_2=None)

# a table with the columns text and reference_path takes their place: --prompt-path mine/prompts.csv
prompt_path = None
prompt = ["A huge wave rolls in and breaks."]
reference_path = ["assets/images/condition/wave.png"]
mask_strategy = "0"  # of all prompts with references
