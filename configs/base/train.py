"""What the training configs share; each adds its data, its model and its text encoder."""

# speed and memory
num_workers = 4  # batches that threads read ahead
dtype = "bf16"
grad_checkpoint = True  # recompute activations in the backward pass
plugin = "zero2"  # gradients and optimizer state split over the GPUs
sp_size = 1  # GPUs that share one video

vae = dict(type="VideoAutoencoderKL", from_pretrained="stabilityai/sd-vae-ft-ema")
scheduler = dict(type="iddpm", timestep_respacing="")  # all 1000 timesteps

seed = 42
outputs = "outputs"
wandb = False

epochs = 1000  # more than anyone waits for: stop when the samples are good
log_every = 10  # steps
ckpt_every = 1000  # steps
load = None  # weights or outputs of an earlier run

lr = 2e-5
grad_clip = 1.0
