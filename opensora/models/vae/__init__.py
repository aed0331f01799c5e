"""Video autoencoders."""

from opensora.models.vae.base import VideoAutoencoder, sample_moments
from opensora.models.vae.frames import VideoAutoencoderKL, VideoAutoencoderKLTemporalDecoder
from opensora.models.vae.pipeline import OpenSoraVAE
from opensora.models.vae.videos import CogVideoXVAE, LTXVideoVAE, WanVAE

__all__ = [
    "CogVideoXVAE",
    "LTXVideoVAE",
    "OpenSoraVAE",
    "VideoAutoencoder",
    "VideoAutoencoderKL",
    "VideoAutoencoderKLTemporalDecoder",
    "WanVAE",
    "sample_moments",
]
