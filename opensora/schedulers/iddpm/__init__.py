"""Denoising diffusion: improved DDPM with a learned variance, its SpeeD variant, v-prediction."""

from opensora.schedulers.iddpm.iddpm import IDDPM
from opensora.schedulers.iddpm.speed import SpeeD
from opensora.schedulers.iddpm.v_prediction import VPrediction

__all__ = ["IDDPM", "SpeeD", "VPrediction"]
