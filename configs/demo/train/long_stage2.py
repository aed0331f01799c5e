"""Stage 2 of the long demo: more passes."""

_base_ = ["stage2.py"]

epochs = 110
