"""How many frames the autoencoder decodes at once: as many as a processor's caches like."""

from typing import Any

import torch

from opensora.models.vae import VideoAutoencoderKL, VideoAutoencoderKLTemporalDecoder
from opensora.sampling.settings import SamplingSettings

_CPU_PIXELS, _GPU_PIXELS = 2**16, 2**22  # one frame of 256 x 256; sixteen of 512 x 512


def limit_decoding(vae: Any, settings: SamplingSettings, device: torch.device) -> None:
    """Let an autoencoder of single frames decode a few at a time, where its config says nothing.

    One that looks along time keeps whole videos.

    Args:
        vae: its `micro_batch_size` is set.
        settings: size of a frame.
        device: where it runs.
    """
    sees_time = isinstance(vae, VideoAutoencoderKLTemporalDecoder)
    if not isinstance(vae, VideoAutoencoderKL) or sees_time or vae.micro_batch_size is not None:
        return
    height, width = settings.image_size
    pixels = _GPU_PIXELS if device.type == "cuda" else _CPU_PIXELS
    vae.micro_batch_size = max(1, pixels // (height * width))
