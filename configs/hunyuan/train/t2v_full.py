"""HunyuanVideo 1.5, text to video: all weights. docs/open_models.md"""

_base_ = ["../../base/open_train.py"]

# {(height)x(width): {num_frames: (keep probability, samples per GPU)}}; 1 + a multiple of 4 frames
bucket_config = {"480x848": {121: (1.0, 1)}}
fps = 24

# a folder of diffusers, or a hub name; all parts are its own
model = dict(
    type="diffusers", from_pretrained="hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v"
)
vae = dict(from_pretrained="hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v")
text_encoder = dict(
    type="qwen-hunyuan",
    from_pretrained="hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v",
    model_max_length=1256,
)
scheduler = dict(type="flow-match", shift=5.0, sample_method="logit-normal")
