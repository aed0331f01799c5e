"""Open models by diffusers' own classes: `model=dict(type="diffusers", from_pretrained=FOLDER)`."""

from opensora.models.open.cogvideox import CogVideoX
from opensora.models.open.door import build_open
from opensora.models.open.hunyuan import HunyuanVideo15
from opensora.models.open.ltx import LTX
from opensora.models.open.ltx2 import LTX2
from opensora.models.open.sana import SanaVideo
from opensora.models.open.wan import Wan

__all__ = ["LTX", "LTX2", "CogVideoX", "HunyuanVideo15", "SanaVideo", "Wan", "build_open"]
