"""Open models by diffusers' own classes: `model=dict(type="diffusers", from_pretrained=FOLDER)`."""

from opensora.models.open.door import build_open
from opensora.models.open.wan import Wan

__all__ = ["Wan", "build_open"]
