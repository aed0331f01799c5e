"""Timesteps of rectified flow: how they are drawn in training and shifted for large videos."""

from typing import Literal

import torch
from torch import Tensor

from opensora.schedulers.common import Conditions

BASE_PIXELS = 512 * 512  # resolution at which timesteps are not shifted; Open-Sora 1.2
FRAMES_PER_CHUNK, LATENTS_PER_CHUNK = 17, 5  # the video VAE of Open-Sora 1.2: 17 frames to 5
FRAMES_PER_LATENT = 4  # temporal stride inside a chunk

SampleMethod = Literal["uniform", "logit-normal"]


def shift_timesteps(t: Tensor, ratio: Tensor | float) -> Tensor:
    """Move t in [0, 1] towards noise: r * t / (1 + (r - 1) * t); 0 and 1 stay put.

    Args:
        t: [B] float in [0, 1]; 1 is pure noise.
        ratio: positive, [B] or a number; 1 changes nothing.

    Returns:
        [B].

    Source: Esser et al. 2024, arXiv:2403.03206, eq. 23.
    """
    return ratio * t / (1 + (ratio - 1) * t)


def latent_frames(num_frames: Tensor) -> Tensor:
    """Latent frames that the size rule counts for clips of num_frames frames, at least 1.

    Every full chunk of 17 frames counts as 5. A clip shorter than one chunk counts one latent frame
    per started group of 4, as the VAE gives it (so 1 frame is 1 and 16 frames are 4); counting
    full chunks alone would make it 0, which sends every timestep to 0 and pure noise to NaN.

    Args:
        num_frames: [B] frames in pixel space.

    Returns:
        [B], dtype of num_frames.
    """
    chunks = num_frames // FRAMES_PER_CHUNK * LATENTS_PER_CHUNK
    short = (num_frames + FRAMES_PER_LATENT - 1) // FRAMES_PER_LATENT
    return torch.where(num_frames < FRAMES_PER_CHUNK, short, chunks)


def timestep_transform(
    t: Tensor,
    model_kwargs: Conditions,
    *,
    scale: float = 1.0,
    num_timesteps: int = 1,
) -> Tensor:
    """Shift timesteps towards noise for videos with more pixels and frames.

    The ratio is scale * sqrt(height * width / 512^2) * sqrt(latent frames).

    Args:
        t: [B] in [0, num_timesteps].
        model_kwargs: height, width (pixels) and num_frames, each [B].
        scale: further factor of the ratio.
        num_timesteps: t of pure noise.

    Returns:
        [B] in [0, num_timesteps].

    Raises:
        ValueError: height, width or num_frames is missing.
    """
    missing = [name for name in ("height", "width", "num_frames") if name not in model_kwargs]
    if missing:
        raise ValueError(f"timestep_transform needs model_kwargs {', '.join(missing)}")
    conditions = model_kwargs["height"], model_kwargs["width"], model_kwargs["num_frames"]
    height, width, num_frames = (value.to(t.device, torch.float32) for value in conditions)
    ratio = scale * (height * width / BASE_PIXELS).sqrt() * latent_frames(num_frames).sqrt()
    return shift_timesteps(t / num_timesteps, ratio) * num_timesteps


def draw_timesteps(
    num_samples: int,
    device: torch.device | str,
    *,
    num_timesteps: int,
    discrete: bool = False,
    method: SampleMethod = "uniform",
    loc: float = 0.0,
    scale: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw training timesteps [num_samples] in [0, num_timesteps].

    `discrete` draws whole numbers 0 .. num_timesteps - 1; "logit-normal" draws the sigmoid of a
    normal variable with mean loc and deviation scale (Esser et al. 2024, section 3.1).
    """
    source = generator.device if generator is not None else device
    if discrete:
        t = torch.randint(0, num_timesteps, (num_samples,), generator=generator, device=source)
    elif method == "uniform":
        t = torch.rand(num_samples, generator=generator, device=source) * num_timesteps
    else:
        normal = torch.randn(num_samples, generator=generator, device=source)
        t = torch.sigmoid(loc + scale * normal) * num_timesteps
    return t.to(device)
