"""The smallest stage 1: a few steps on images and short clips."""

bucket_config = {"32px": {1: (1.0, 4), 8: (1.0, 2)}}
epochs = 4  # few clips fill as many steps as num_steps
num_steps = 4

model = dict(
    type="STDiT2",
    input_sq_size=32,
    patch_size=(1, 2, 2),
    hidden_size=24,
    depth=1,
    num_heads=2,
    qk_norm=True,
    temporal_pos_embed=True,
    pred_sigma=False,
)
scheduler = dict(type="rflow", sample_method="logit-normal", shift=5.0, num_sampling_steps=2)
optimizer = dict(type="muon")
ema_decay = 0.9
dtype = "fp32"
log_every = 1
ckpt_every = 2
