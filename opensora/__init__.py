"""Text-to-video pipeline: raw videos to a trained spatial-temporal diffusion transformer."""

__version__ = "0.1.0"
