"""What the training configs of open models share. docs/open_models.md"""

num_frames = None  # the bucket decides
batch_size = None

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
