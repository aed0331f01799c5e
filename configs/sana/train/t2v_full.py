"""SANA-Video 2B, text to video: all weights. docs/open_models.md"""

_base_ = ["../../base/open_train.py"]

# {(height)x(width): {num_frames: (keep probability, samples per GPU)}}; 1 + a multiple of 4 frames
bucket_config = {"480x832": {81: (1.0, 1)}}
fps = 16

# a folder of diffusers, or a hub name; all parts are its own
model = dict(type="diffusers", from_pretrained="Efficient-Large-Model/SANA-Video_2B_480p_diffusers")
vae = dict(from_pretrained="Efficient-Large-Model/SANA-Video_2B_480p_diffusers")
text_encoder = dict(
    type="gemma-sana",
    from_pretrained="Efficient-Large-Model/SANA-Video_2B_480p_diffusers",
    model_max_length=300,
)
scheduler = dict(type="flow-match", shift=8.0, sample_method="logit-normal")
