"""Measurements of samples, one metric per file; importing this registers them all."""

from opensora.evaluation import clipsim, prompt_following, reconstruction

__all__ = ["clipsim", "prompt_following", "reconstruction"]
