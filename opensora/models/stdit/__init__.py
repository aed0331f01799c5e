"""Spatial-temporal diffusion transformers: STDiT (fixed size), STDiT2 and STDiT3 (any size)."""

from opensora.models.stdit.stdit import STDiT, STDiTBlock
from opensora.models.stdit.stdit2 import STDiT2, STDiT2Block
from opensora.models.stdit.stdit3 import STDiT3, STDiT3Block

__all__ = ["STDiT", "STDiT2", "STDiT2Block", "STDiT3", "STDiT3Block", "STDiTBlock"]
