"""Video autoencoders."""

from opensora.models.vae.base import VideoAutoencoder, sample_moments
from opensora.models.vae.frames import VideoAutoencoderKL, VideoAutoencoderKLTemporalDecoder
from opensora.models.vae.pipeline import OpenSoraVAE
from opensora.models.vae.videos import CogVideoXVAE, HunyuanVideo15VAE, LTXVideoVAE, WanVAE

__all__ = [
    "CogVideoXVAE",
    "HunyuanVideo15VAE",
    "LTXVideoVAE",
    "OpenSoraVAE",
    "VideoAutoencoder",
    "VideoAutoencoderKL",
    "VideoAutoencoderKLTemporalDecoder",
    "WanVAE",
    "sample_moments",
]
