"""Open-Sora 1.1, stage 1: 144p to 240p clips of 16 to 96 frames, and images up to 1024 pixels."""

# {resolution: {num_frames: (keep probability, samples per GPU)}}
bucket_config = {
    "144p": {1: (0.5, 48), 16: (1.0, 6), 32: (1.0, 3), 96: (1.0, 1)},
    "256": {1: (0.5, 24), 16: (0.5, 3), 48: (0.5, 1), 64: (0.0, None)},
    "240p": {16: (0.3, 2), 32: (0.3, 1), 64: (0.0, None)},
    "512": {1: (0.4, 12)},
    "1024": {1: (0.3, 3)},
}
mask_ratios = dict(
    mask_no=0.75,
    mask_quarter_random=0.025,
    mask_quarter_head=0.025,
    mask_quarter_tail=0.025,
    mask_quarter_head_tail=0.05,
    mask_image_random=0.025,
    mask_image_head=0.025,
    mask_image_tail=0.025,
    mask_image_head_tail=0.05,
)
frame_interval = 3

model = dict(type="STDiT2-XL/2", input_sq_size=512, qk_norm=True, enable_flash_attn=True)
scheduler = dict(type="iddpm", timestep_respacing="")
optimizer = dict(type="adamw")
lr = 2e-5
grad_clip = 1.0

dtype = "bf16"
plugin = "zero2"
sp_size = 1
grad_checkpoint = False
num_workers = 8

seed = 42
epochs = 10  # passes that are compiled into the plan
log_every = 10
ckpt_every = 500
