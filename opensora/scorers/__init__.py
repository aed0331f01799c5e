"""Scorers: importing this package registers them all."""

from opensora.scorers import aesthetic, camera, flow, match, ocr, phash, technical

__all__ = ["aesthetic", "camera", "flow", "match", "ocr", "phash", "technical"]
