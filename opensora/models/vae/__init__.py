"""Video autoencoders."""

from opensora.models.vae.base import VideoAutoencoder, sample_moments
from opensora.models.vae.frames import VideoAutoencoderKL, VideoAutoencoderKLTemporalDecoder
from opensora.models.vae.videos import CogVideoXVAE, LTXVideoVAE, WanVAE

__all__ = [
    "CogVideoXVAE",
    "LTXVideoVAE",
    "VideoAutoencoder",
    "VideoAutoencoderKL",
    "VideoAutoencoderKLTemporalDecoder",
    "WanVAE",
    "sample_moments",
]
