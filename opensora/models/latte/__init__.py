"""Latte: DiT blocks that attend to space and to time in turn."""

from opensora.models.latte.latte import Latte

__all__ = ["Latte"]
