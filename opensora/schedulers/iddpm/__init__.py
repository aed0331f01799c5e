"""Denoising diffusion with a learned variance (improved DDPM) and its SpeeD training variant."""

from opensora.schedulers.iddpm.iddpm import IDDPM
from opensora.schedulers.iddpm.speed import SpeeD

__all__ = ["IDDPM", "SpeeD"]
