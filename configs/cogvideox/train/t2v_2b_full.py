"""CogVideoX 2B, text to video: all weights. docs/open_models.md"""

# {(height)x(width): {num_frames: (keep probability, samples per GPU)}}; 1 + a multiple of 8 frames
bucket_config = {"480x720": {49: (1.0, 1)}}
fps = 8
num_frames = None  # the bucket decides
batch_size = None

# a folder of diffusers, or a hub name; all parts are its own
model = dict(type="diffusers", from_pretrained="zai-org/CogVideoX-2b")
vae = dict(from_pretrained="zai-org/CogVideoX-2b")
text_encoder = dict(
    type="t5-cogvideox", from_pretrained="zai-org/CogVideoX-2b", model_max_length=226
)
scheduler = dict(type="v-prediction", snr_shift=3.0)  # of 5B: 1.0

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
