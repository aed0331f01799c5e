"""Demo stage 2: 16-frame clips at 32 pixels and some at 24, from the weights of stage 1."""

_base_ = ["stage1.py"]

# a clip that the first draw does not keep at 32 pixels is trained at 24
bucket_config = dict(_delete_=True, **{"32px": {16: (0.8, 32)}, "24px": {16: (1.0, 48)}})
epochs = 40
num_steps = 1000
lr_decay = "linear"
