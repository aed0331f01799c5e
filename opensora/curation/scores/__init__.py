"""Scores: one scorer per file; importing this package registers them all."""

from opensora.curation.scores import aesthetic, camera, flow, match, ocr, perceptual_hash, technical

__all__ = ["aesthetic", "camera", "flow", "match", "ocr", "perceptual_hash", "technical"]
