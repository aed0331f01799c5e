"""Text encoders: T5, UMT5, CLIP, those of open models, class labels."""

from opensora.models.text_encoder.classes import ClassEncoder
from opensora.models.text_encoder.clip import ClipTextEncoder
from opensora.models.text_encoder.gemma import GemmaTextEncoder
from opensora.models.text_encoder.gemma_ltx2 import LTX2TextEncoder
from opensora.models.text_encoder.hunyuan import HunyuanTextEncoder
from opensora.models.text_encoder.t5 import T5Encoder
from opensora.models.text_encoder.t5_padded import CogVideoXTextEncoder, LTXTextEncoder
from opensora.models.text_encoder.umt5 import UMT5Encoder

__all__ = [
    "ClassEncoder",
    "ClipTextEncoder",
    "CogVideoXTextEncoder",
    "GemmaTextEncoder",
    "HunyuanTextEncoder",
    "LTX2TextEncoder",
    "LTXTextEncoder",
    "T5Encoder",
    "UMT5Encoder",
]
