"""Video autoencoders."""

from opensora.models.vae.frames import VideoAutoencoderKL, VideoAutoencoderKLTemporalDecoder

__all__ = ["VideoAutoencoderKL", "VideoAutoencoderKLTemporalDecoder"]
