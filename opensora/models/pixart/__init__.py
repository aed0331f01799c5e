"""PixArt-alpha and its multi-size variant."""

from opensora.models.pixart.pixart import PixArt, PixArtBlock, PixArtMS

__all__ = ["PixArt", "PixArtBlock", "PixArtMS"]
