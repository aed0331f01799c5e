"""Timesteps of rectified flow: how they are drawn in training and shifted for large videos."""

import math
from typing import Literal

import torch
from torch import Tensor

from opensora.schedulers.common import Conditions

BASE_PIXELS = 512 * 512  # resolution at which timesteps are not shifted; Open-Sora 1.2

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


def timestep_transform(
    t: Tensor,
    model_kwargs: Conditions,
    latent_frames: int,
    *,
    scale: float = 1.0,
    num_timesteps: int = 1,
) -> Tensor:
    """Shift timesteps towards noise for videos with more pixels and frames.

    The ratio is scale * sqrt(height * width / 512^2) * sqrt(latent frames). Open-Sora 1.2 reckons
    the latent frames from the frames, 5 for each 17 as its own autoencoder; here the latents say
    how many they are, whatever the autoencoder.

    Args:
        t: [B] in [0, num_timesteps].
        model_kwargs: height and width (pixels), each [B].
        latent_frames: T of the latents.
        scale: further factor of the ratio.
        num_timesteps: t of pure noise.

    Returns:
        [B] in [0, num_timesteps].

    Raises:
        ValueError: height or width is missing.
    """
    missing = [name for name in ("height", "width") if name not in model_kwargs]
    if missing:
        raise ValueError(f"timestep_transform needs model_kwargs {', '.join(missing)}")
    conditions = model_kwargs["height"], model_kwargs["width"]
    height, width = (value.to(t.device, torch.float32) for value in conditions)
    ratio = scale * (height * width / BASE_PIXELS).sqrt() * math.sqrt(latent_frames)
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


def draw_in_band(
    num_samples: int,
    device: torch.device | str,
    band: tuple[float, float],
    *,
    method: SampleMethod = "uniform",
    loc: float = 0.0,
    scale: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw training timesteps [num_samples] of a band of [0, 1], as often as all draws fall there.

    One number is drawn for each: the share of the distribution, which its inverse makes a timestep.
    """
    source = generator.device if generator is not None else device
    share = torch.rand(num_samples, generator=generator, device=source, dtype=torch.float64)
    ends = torch.tensor(band, dtype=torch.float64, device=source).clamp(0, 1)
    if method == "uniform":
        t = ends[0] + (ends[1] - ends[0]) * share
    else:
        low, high = torch.special.ndtr((torch.logit(ends) - loc) / scale)
        t = torch.sigmoid(loc + scale * torch.special.ndtri(low + (high - low) * share))
    return t.float().to(device)
