"""Demo text encoder as Wan has it: the same size, each layer with positions of its own."""

_base_ = ["text_encoder.py"]

type = "umt5"
