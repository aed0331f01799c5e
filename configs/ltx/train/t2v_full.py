"""LTX-Video, text to video: all weights. docs/open_models.md"""

# {(height)x(width): {num_frames: (keep probability, samples per GPU)}}; 1 + a multiple of 8 frames
bucket_config = {"512x704": {121: (1.0, 1)}}
fps = 24
num_frames = None  # the bucket decides
batch_size = None

# a folder of diffusers, or a hub name; all parts are its own
model = dict(type="diffusers", from_pretrained="Lightricks/LTX-Video")
vae = dict(from_pretrained="Lightricks/LTX-Video")
text_encoder = dict(type="t5-ltx", from_pretrained="Lightricks/LTX-Video", model_max_length=128)
scheduler = dict(
    type="flow-match", log_shift={1024: 0.95, 4096: 2.05}, sample_method="logit-normal"
)

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
