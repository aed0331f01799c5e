"""Stage 1 of the long demo: more passes."""

_base_ = ["stage1.py"]

epochs = 30
