"""Demo stage 2: 16 frames at 32 pixels, a tenth of them at 24, from the weights of stage 1."""

_base_ = ["stage1.py"]

# a clip that the draw does not keep at 32 pixels is trained at 24; images keep shapes in mind
bucket_config = dict(
    _delete_=True, **{"32px": {1: (1.0, 32), 16: (0.9, 16)}, "24px": {16: (1.0, 16)}}
)
epochs = 18
lr_decay = "linear"
