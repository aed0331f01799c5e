"""Prompts to frames: one batch through text encoder, scheduler and VAE."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opensora.core.errors import CheckpointError
from opensora.sampling.display import to_uint8
from opensora.sampling.pipeline import Pipeline
from opensora.sampling.prompts import SampleRequest
from opensora.sampling.settings import SamplingSettings

IMAGE_FPS = 120.0  # what the model is told for single frames; Open-Sora 1.1


def sample_batch(
    pipeline: Pipeline, batch: Sequence[SampleRequest], settings: SamplingSettings
) -> list[np.ndarray]:
    """Make one batch of samples.

    All noise of a sample comes from its own generator, seeded by (seed, prompt, k) alone, so a
    sample depends neither on the size nor on the order of the batches.

    Args:
        pipeline: loaded parts.
        batch: prompts and sample numbers.
        settings: size, fps and seed.

    Returns:
        uint8 [T, H, W, 3] per sample, at the sampled size.

    Raises:
        CheckpointError: the model gives numbers that are not finite.
    """
    latent_size = pipeline.vae.get_latent_size((settings.num_frames, *settings.image_size))
    latents = pipeline.scheduler.sample(
        pipeline.model,
        pipeline.text_encoder,
        [request.clean_prompt for request in batch],
        (pipeline.vae.out_channels, *latent_size),
        pipeline.device,
        size_conditions(settings, len(batch), pipeline.device),
        generator=[
            torch.Generator().manual_seed(request.noise_seed(settings.seed)) for request in batch
        ],
    )  # [B, C, t, h, w]
    if not latents.isfinite().all():
        raise CheckpointError(
            f"{pipeline.identity['checkpoint']}: the model gives numbers that are not finite;"
            " use an earlier checkpoint or dtype fp32."
        )
    dtype = next(pipeline.vae.parameters()).dtype
    with torch.no_grad():
        videos = pipeline.vae.decode(latents.to(dtype))  # [B, 3, T, H, W]
    return [to_uint8(video) for video in videos]


def size_conditions(
    settings: SamplingSettings, num_samples: int, device: torch.device
) -> dict[str, Tensor]:
    """What the model is told about size and time, each float [num_samples]."""
    height, width = settings.image_size
    values: dict[str, Any] = {
        "height": height,
        "width": width,
        "num_frames": settings.num_frames,
        "ar": height / width,
        "fps": settings.fps if settings.num_frames > 1 else IMAGE_FPS,
    }
    return {name: torch.full((num_samples,), float(v), device=device) for name, v in values.items()}
