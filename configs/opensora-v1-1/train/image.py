"""Open-Sora 1.1 on images alone, 256 to 1080 pixels."""

_base_ = ["../../base/stdit2_train.py"]

bucket_config = {
    "256": {1: (1.0, 256)},
    "512": {1: (1.0, 80)},
    "480p": {1: (1.0, 52)},
    "1024": {1: (1.0, 20)},
    "1080p": {1: (1.0, 8)},
}
batch_size = 10  # not used: the bucket decides
