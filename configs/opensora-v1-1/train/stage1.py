"""Open-Sora 1.1, stage 1: mostly 144p clips of up to 96 frames, and images up to 1024 pixels."""

_base_ = ["../../base/stdit2_train.py"]

# {resolution: {num_frames: (keep probability, samples per GPU)}}
bucket_config = {
    "144p": {1: (0.5, 48), 16: (1.0, 6), 32: (1.0, 3), 96: (1.0, 1)},
    "256": {1: (0.5, 24), 16: (0.5, 3), 48: (0.5, 1), 64: (0.0, None)},
    "240p": {16: (0.3, 2), 32: (0.3, 1), 64: (0.0, None)},
    "512": {1: (0.4, 12)},
    "1024": {1: (0.3, 3)},
}
# how often which frames stay clean, so that the model learns to continue and to fill in
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

num_workers = 8
grad_checkpoint = False
batch_size = None  # the bucket decides
