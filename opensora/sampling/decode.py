"""Latents to frames, a part of a video at a time where memory asks for it.

Axes: B samples, C latent channels, t h w latent size, T frames, H W pixels.
"""

from typing import Any

import torch
from torch import Tensor

from opensora.core.errors import ConfigError
from opensora.models.vae import (
    HunyuanVideo15VAE,
    LTXVideoVAE,
    VideoAutoencoderKL,
    VideoAutoencoderKLTemporalDecoder,
)
from opensora.sampling.settings import SamplingSettings

# pixels that an image decoder takes at once: a frame of 256 x 256, sixteen of 512 x 512
_CPU_PIXELS, _GPU_PIXELS = 2**16, 2**22
_LEVEL = 2 / 255  # of 256 in [-1, 1]
MOST_LEVELS = 2.0  # by which frames may differ from those of the whole video
_TRIED = 64  # rows and columns of pixels on which that is looked at
# those that decode all frames of a video at once; the others take chunks or frames by themselves
_CHUNKED = (VideoAutoencoderKLTemporalDecoder, LTXVideoVAE, HunyuanVideo15VAE)


def prepare_decoding(vae: Any, settings: SamplingSettings, device: torch.device) -> None:
    """Let an image decoder take a few frames at once; check chunks of one along time.

    Args:
        vae: where its config does not say `micro_batch_size`, it is set.
        settings: size of a frame, `decode_frames` and `decode_overlap`.
        device: where it runs.

    Raises:
        ConfigError: `decode_frames` for an autoencoder that has no use for it, or so few that
            videos would show it.
    """
    sees_time = isinstance(vae, _CHUNKED)
    if settings.decode_frames is not None:
        if not sees_time:
            raise ConfigError(
                f"decode_frames is for {', '.join(kind.__name__ for kind in _CHUNKED)}, and the"
                f" VAE is {type(vae).__name__}, which decodes frames alone or in chunks of its own;"
                " drop the field."
            )
        if vae.patch_size[0] > 1 and not settings.decode_overlap:
            raise ConfigError(
                f"decode_overlap is 0, and the first latent frame that {type(vae).__name__} decodes"
                f" is one frame where the others are {vae.patch_size[0]}; set it to 1 at least."
            )
        _check_chunks(vae, settings, device)
    elif isinstance(vae, VideoAutoencoderKL) and not sees_time and vae.micro_batch_size is None:
        height, width = settings.image_size
        pixels = _GPU_PIXELS if device.type == "cuda" else _CPU_PIXELS
        vae.micro_batch_size = max(1, pixels // (height * width))


def decode(vae: Any, z: Tensor, settings: SamplingSettings) -> Tensor:
    """Decode latents, in chunks of `decode_frames` latent frames where that is set.

    Each chunk is decoded with `decode_overlap` frames before and behind it, which are thrown away.

    Args:
        vae: decodes s frames a latent frame, `patch_size[0]`; where s is not 1, the first latent
            frame is one frame.
        z: [B, C, t, h, w].
        settings: size of the chunks.

    Returns:
        [B, 3, T, H, W].
    """
    size, overlap, length = settings.decode_frames, settings.decode_overlap, z.shape[2]
    if size is None or size >= length:
        whole: Tensor = vae.decode(z)
        return whole
    stride, parts = vae.patch_size[0], []

    def frames_of(latents: int) -> int:
        return latents if stride == 1 else max(0, (latents - 1) * stride + 1)

    for start in range(0, length, size):
        first, end = max(start - overlap, 0), min(start + size, length)
        part = vae.decode(z[:, :, first : end + overlap])
        parts.append(part[:, :, frames_of(start - first) : frames_of(end - first)])
    return torch.cat(parts, dim=2)


@torch.no_grad()
def _check_chunks(vae: Any, settings: SamplingSettings, device: torch.device) -> None:
    """Compare chunks with the whole, on noise of a few pixels and all frames.

    Raises:
        ConfigError: they differ by more than `MOST_LEVELS`.
    """
    frames = vae.get_latent_size((settings.num_frames, *settings.image_size))[0]
    rows, columns = (max(2, _TRIED // side) for side in vae.patch_size[1:])
    noise = torch.randn(1, vae.out_channels, frames, rows, columns, generator=_seeded())
    z = noise.to(device, next(vae.parameters()).dtype)
    whole, parts = (
        frames.float().clamp(-1, 1) for frames in (vae.decode(z), decode(vae, z, settings))
    )
    levels = float((whole - parts).abs().max()) / _LEVEL
    if levels > MOST_LEVELS:
        raise ConfigError(
            f"decode_frames {settings.decode_frames} with decode_overlap {settings.decode_overlap}"
            f" moves pixels by {levels:.0f} of 255 levels against the whole video; raise one of the"
            f" two until it is {MOST_LEVELS:.0f} at most."
        )


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)
