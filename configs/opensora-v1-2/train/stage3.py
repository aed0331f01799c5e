"""Open-Sora 1.2, stage 3: clips up to 720p, and often their first frame given."""

_base_ = ["../../base/stdit3_train.py"]

# {resolution: {num_frames: (keep probability, or that and the one of this length; per GPU)}}
bucket_config = {
    "144p": {1: (1.0, 475), 51: (1.0, 51), 102: (1.0, 27), 204: (1.0, 13), 408: (1.0, 6)},
    "256": {1: (1.0, 297), 51: (0.5, 20), 102: (0.5, 10), 204: (0.5, 5), 408: ((0.5, 0.5), 2)},
    "240p": {1: (1.0, 297), 51: (0.5, 20), 102: (0.5, 10), 204: (0.5, 5), 408: ((0.5, 0.4), 2)},
    "360p": {1: (1.0, 141), 51: (0.5, 8), 102: (0.5, 4), 204: (0.5, 2), 408: ((0.5, 0.3), 1)},
    "512": {1: (1.0, 141), 51: (0.5, 8), 102: (0.5, 4), 204: (0.5, 2), 408: ((0.5, 0.2), 1)},
    "480p": {1: (1.0, 89), 51: (0.5, 5), 102: (0.5, 3), 204: ((0.5, 0.5), 1)},
    "720p": {1: (0.3, 36), 51: (0.2, 2), 102: (0.1, 1)},
    "1024": {1: (0.3, 36), 51: (0.1, 2), 102: (0.1, 1)},
    "1080p": {1: (0.1, 5)},
    "2048": {1: (0.05, 5)},
}
mask_ratios = dict(
    random=0.01,
    interpolate=0.002,
    mask_quarter_random=0.002,
    mask_quarter_head=0.002,
    mask_quarter_tail=0.002,
    mask_quarter_head_tail=0.002,
    mask_image_head=0.22,
    mask_image_tail=0.005,
    mask_image_head_tail=0.005,
)
