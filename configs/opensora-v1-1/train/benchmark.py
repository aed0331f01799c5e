"""Batch sizes to try for Open-Sora 1.1, read by `opensora search-batch-size`."""

_base_ = ["../../base/stdit2_train.py"]

# batch sizes to try, from and to; before them the keep probability where there is one
bucket_config = {
    "720p": {1: (20, 40), 32: (0.5, (2, 4)), 64: (0.5, (1, 1))},
}
batch_size = None
ckpt_every = 1000
