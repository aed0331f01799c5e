"""SANA-Video 2B, text to video: all weights. docs/open_models.md"""

# {(height)x(width): {num_frames: (keep probability, samples per GPU)}}; 1 + a multiple of 4 frames
bucket_config = {"480x832": {81: (1.0, 1)}}
fps = 16
num_frames = None  # the bucket decides
batch_size = None

# a folder of diffusers, or a hub name; all parts are its own
model = dict(type="diffusers", from_pretrained="Efficient-Large-Model/SANA-Video_2B_480p_diffusers")
vae = dict(from_pretrained="Efficient-Large-Model/SANA-Video_2B_480p_diffusers")
text_encoder = dict(
    type="gemma-sana",
    from_pretrained="Efficient-Large-Model/SANA-Video_2B_480p_diffusers",
    model_max_length=300,
)
scheduler = dict(type="flow-match", shift=8.0, sample_method="logit-normal")

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
