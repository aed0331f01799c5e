"""Text encoders: T5, CLIP, class labels."""

from opensora.models.text_encoder.classes import ClassEncoder
from opensora.models.text_encoder.clip import ClipTextEncoder
from opensora.models.text_encoder.t5 import T5Encoder

__all__ = ["ClassEncoder", "ClipTextEncoder", "T5Encoder"]
