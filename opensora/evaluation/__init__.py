"""Measurements of samples, one metric per file; importing this registers them all."""

from opensora.evaluation import (
    clipsim,
    first_frame,
    frechet,
    held_out_loss,
    prompt_following,
    reconstruction,
    scored,
    temporal_consistency,
)

__all__ = [
    "clipsim",
    "first_frame",
    "frechet",
    "held_out_loss",
    "prompt_following",
    "reconstruction",
    "scored",
    "temporal_consistency",
]
