"""Spatial-temporal diffusion transformers: STDiT (fixed size) and STDiT2 (any size)."""

from opensora.models.stdit.stdit import STDiT, STDiTBlock
from opensora.models.stdit.stdit2 import STDiT2, STDiT2Block

__all__ = ["STDiT", "STDiT2", "STDiT2Block", "STDiTBlock"]
