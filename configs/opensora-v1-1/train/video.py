"""Open-Sora 1.1 on 240p clips of up to 128 frames and on images, without masks."""

_base_ = ["../../base/stdit2_train.py"]

bucket_config = {
    "240p": {16: (1.0, 16), 32: (1.0, 8), 64: (1.0, 4), 128: (1.0, 2)},
    "256": {1: (1.0, 256)},
    "512": {1: (0.5, 80)},
    "480p": {1: (0.4, 52), 16: (0.4, 4), 32: (0.0, None)},
    "720p": {16: (0.1, 2), 32: (0.0, None)},
    "1024": {1: (0.3, 20)},
    "1080p": {1: (0.3, 8)},
}
batch_size = 10  # not used: the bucket decides
