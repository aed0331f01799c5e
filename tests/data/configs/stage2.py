"""The smallest stage 2: 16 frames, a share of them at a lower resolution."""

_base_ = ["stage1.py"]

bucket_config = dict(_delete_=True, **{"32px": {16: (0.7, 2)}, "24px": {16: (1.0, 1)}})
