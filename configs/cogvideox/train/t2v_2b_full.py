"""CogVideoX 2B, text to video: all weights. docs/open_models.md"""

_base_ = ["../../base/open_train.py"]

# {(height)x(width): {num_frames: (keep probability, samples per GPU)}}; 1 + a multiple of 8 frames
bucket_config = {"480x720": {49: (1.0, 1)}}
fps = 8

# a folder of diffusers, or a hub name; all parts are its own
model = dict(type="diffusers", from_pretrained="zai-org/CogVideoX-2b")
vae = dict(from_pretrained="zai-org/CogVideoX-2b")
text_encoder = dict(
    type="t5-cogvideox", from_pretrained="zai-org/CogVideoX-2b", model_max_length=226
)
scheduler = dict(type="v-prediction", snr_shift=3.0)  # of 5B: 1.0
