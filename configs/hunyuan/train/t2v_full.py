"""HunyuanVideo 1.5, text to video: all weights. docs/open_models.md"""

# {(height)x(width): {num_frames: (keep probability, samples per GPU)}}; 1 + a multiple of 4 frames
bucket_config = {"480x848": {121: (1.0, 1)}}
fps = 24
num_frames = None  # the bucket decides
batch_size = None

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

dtype = "bf16"
grad_checkpoint = True
plugin = "zero2"
lr = 1e-5
warmup_steps = 50
num_steps = 1000
ema_decay = 0.99
num_workers = 2
log_every = 10
ckpt_every = 250
epochs = 1000  # more than num_steps needs
seed = 42
outputs = "outputs"
