"""Text encoders: T5, UMT5, CLIP, class labels."""

from opensora.models.text_encoder.classes import ClassEncoder
from opensora.models.text_encoder.clip import ClipTextEncoder
from opensora.models.text_encoder.t5 import T5Encoder
from opensora.models.text_encoder.umt5 import UMT5Encoder

__all__ = ["ClassEncoder", "ClipTextEncoder", "T5Encoder", "UMT5Encoder"]
