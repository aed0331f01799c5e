"""Open-Sora 1.2, stage 1: clips of up to 408 frames, mostly 144p to 360p, and images up to 2048."""

_base_ = ["../../base/stdit3_train.py"]

# {resolution: {num_frames: ((keep probability, that of this length), samples per GPU)}}
bucket_config = {
    "144p": {
        **{1: (1.0, 475), 51: (1.0, 51)},
        **{102: ((1.0, 0.33), 27), 204: ((1.0, 0.1), 13), 408: ((1.0, 0.1), 6)},
    },
    "256": {
        **{1: (0.4, 297), 51: (0.5, 20)},
        **{102: ((0.5, 0.33), 10), 204: ((0.5, 0.1), 5), 408: ((0.5, 0.1), 2)},
    },
    "240p": {
        **{1: (0.3, 297), 51: (0.4, 20)},
        **{102: ((0.4, 0.33), 10), 204: ((0.4, 0.1), 5), 408: ((0.4, 0.1), 2)},
    },
    "360p": {
        **{1: (0.2, 141), 51: (0.15, 8)},
        **{102: ((0.15, 0.33), 4), 204: ((0.15, 0.1), 2), 408: ((0.15, 0.1), 1)},
    },
    "512": {1: (0.1, 141)},
    "480p": {1: (0.1, 89)},
    "720p": {1: (0.05, 36)},
    "1024": {1: (0.05, 36)},
    "1080p": {1: (0.1, 5)},
    "2048": {1: (0.1, 5)},
}
# how often which frames stay clean
mask_ratios = dict(
    random=0.05,
    interpolate=0.005,
    mask_quarter_random=0.005,
    mask_quarter_head=0.005,
    mask_quarter_tail=0.005,
    mask_quarter_head_tail=0.005,
    mask_image_random=0.025,
    mask_image_head=0.05,
    mask_image_tail=0.025,
    mask_image_head_tail=0.025,
)
