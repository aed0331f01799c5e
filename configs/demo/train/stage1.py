"""Demo stage 1: images and short clips at 32 pixels, on the CPU from random weights."""

# {resolution: {num_frames: (keep probability, clips per micro batch)}}
bucket_config = {"32px": {1: (1.0, 128), 8: (1.0, 32)}}
epochs = 20  # passes that assign-buckets compiles into the plan
num_steps = 400  # optimizer steps, the plan is longer

model = dict(
    type="STDiT2",
    input_sq_size=32,
    patch_size=(1, 1, 1),
    hidden_size=144,
    depth=4,
    num_heads=4,
    qk_norm=True,
    temporal_pos_embed=True,
    pred_sigma=False,
    class_dropout_prob=0.1,
)
dataset = dict(type="LatentDataset")  # latents, embeddings and plan come from the command line
scheduler = dict(
    type="rflow", sample_method="logit-normal", shift=5.0, num_sampling_steps=20, cfg_scale=2.5
)
optimizer = dict(type="muon", lr=0.02, adamw_lr=2e-3)
warmup_steps = 20
ema_decay = 0.995
grad_clip = 1.0

dtype = "bf16"
plugin = "ddp"
seed = 42
log_every = 1
ckpt_every = 200
