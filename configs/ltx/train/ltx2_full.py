"""LTX-2, text to video: all weights. docs/open_models.md"""

_base_ = ["../../base/open_train.py"]

# {(height)x(width): {num_frames: (keep probability, samples per GPU)}}; 1 + a multiple of 8 frames
bucket_config = {"512x768": {121: (1.0, 1)}}
fps = 24

# a folder of diffusers, or a hub name; all parts are its own
model = dict(type="diffusers", from_pretrained="Lightricks/LTX-2")
vae = dict(from_pretrained="Lightricks/LTX-2")
text_encoder = dict(type="gemma-ltx2", from_pretrained="Lightricks/LTX-2", model_max_length=1024)
scheduler = dict(
    type="flow-match", log_shift={1024: 0.95, 4096: 2.05}, sample_method="logit-normal"
)
