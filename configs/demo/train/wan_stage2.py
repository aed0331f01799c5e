"""Demo stage 2 with the transformer of Wan, from the weights of its stage 1."""

_base_ = ["wan_stage1.py"]

bucket_config = dict(_delete_=True, **{"32px": {1: (1.0, 32), 16: (1.0, 16)}})
epochs = 18
lr_decay = "linear"
