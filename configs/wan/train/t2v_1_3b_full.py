"""Wan 2.1 1.3B, text to video: all weights. docs/open_models.md"""

_base_ = ["../../base/open_train.py"]

# {(height)x(width): {num_frames: (keep probability, samples per GPU)}}; 1 + a multiple of 4 frames
bucket_config = {"480x832": {81: (1.0, 1)}}
fps = 16

# a folder of diffusers, or a hub name; all parts are its own
model = dict(type="diffusers", from_pretrained="Wan-AI/Wan2.1-T2V-1.3B-Diffusers")
vae = dict(from_pretrained="Wan-AI/Wan2.1-T2V-1.3B-Diffusers")
text_encoder = dict(
    type="umt5", from_pretrained="Wan-AI/Wan2.1-T2V-1.3B-Diffusers", model_max_length=512
)
scheduler = dict(type="flow-match", shift=3.0, sample_method="logit-normal")
