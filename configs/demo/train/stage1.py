"""Demo stage 1: images and half-second clips at 32 pixels, on the CPU from random weights."""

# {resolution: {num_frames: (keep probability, clips per micro batch of one worker)}}
bucket_config = {"32px": {1: (1.0, 32), 8: (1.0, 16)}}
balance = "cost"  # the workers of a step get batches that take equally long
epochs = 19  # passes over the data, compiled into the plan

model = dict(
    type="STDiT2",
    input_sq_size=32,
    patch_size=(1, 2, 2),  # 8 pixels a side: a token per pixel block that still shows a corner
    hidden_size=144,
    depth=4,
    num_heads=4,
    qk_norm=True,
    temporal_pos_embed=True,  # without it the direction of motion is learned much later
    pred_sigma=False,
    class_dropout_prob=0.1,
)
scheduler = dict(
    type="rflow", sample_method="logit-normal", shift=3.0, num_sampling_steps=20, cfg_scale=4.0
)
optimizer = dict(type="muon", lr=0.02, adamw_lr=2e-3)
warmup_steps = 20
ema_decay = 0.99
grad_clip = 1.0

dtype = "bf16"
plugin = "ddp"
seed = 42
log_every = 1
ckpt_every = 200
eval_every = 200  # steps between points of the held-out loss
