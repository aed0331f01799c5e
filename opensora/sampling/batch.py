"""Prompts to frames: one batch through text encoder, scheduler and VAE, clip after clip.

Axes: B samples, C latent channels, t h w latent size, T frames, H W pixels.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from opensora.core.errors import CheckpointError, ConfigError
from opensora.media.frames import to_uint8
from opensora.sampling.conditioning import apply_strategies, continue_rule
from opensora.sampling.decode import decode
from opensora.sampling.pictures import given_conditions, reads_given
from opensora.sampling.pipeline import Pipeline
from opensora.sampling.preview import previews
from opensora.sampling.prompt_text import loop_texts
from opensora.sampling.prompts import SampleRequest
from opensora.sampling.settings import SamplingSettings
from opensora.schedulers.common import Conditions, draw_noise, frame_view, size_conditions
from opensora.schedulers.guidance import Estimate, Watch

log = logging.getLogger(__name__)

ReferenceLatents = Mapping[str, Tensor]
"""Content hash of a reference -> its latents [C, R, h, w]."""

OnStep = Callable[[], None]
"""Called after each call of the model; what it raises ends the batch that is being made."""


def sample_batch(
    pipeline: Pipeline,
    batch: Sequence[SampleRequest],
    settings: SamplingSettings,
    references: ReferenceLatents | None = None,
    on_step: OnStep | None = None,
) -> list[np.ndarray]:
    """Make one batch of samples.

    All noise of a sample comes from its own generator, seeded by (seed, prompt, k) alone, and its
    text is encoded alone: what stands in the other rows decides nothing. Size and row decide the
    rounding, see `places`.

    Args:
        pipeline: loaded parts.
        batch: prompts and sample numbers, all with given frames in the same loops.
        settings: size, fps, loops and seed.
        references: latents of the references that the batch names.
        on_step: told of each call of the model; what it raises ends the batch.

    Returns:
        uint8 [T, H, W, 3] per sample, at the sampled size.

    Raises:
        CheckpointError: the model gives numbers that are not finite.
    """
    generators = [
        torch.Generator().manual_seed(request.noise_seed(settings.seed)) for request in batch
    ]
    begins = reads_given(pipeline.model)  # which are encoded with the batch
    kept = [() if begins else request.prompt.references for request in batch]
    given = [[(references or {})[reference.sha256] for reference in own] for own in kept]
    dtype = next(pipeline.vae.parameters()).dtype
    shared = settings.condition_frame_length
    clips: list[list[np.ndarray]] = [[] for _ in batch]
    ends: Tensor | None = None  # last latent frames of the clip before, [B, C, t', h, w]
    for loop in range(settings.loop):
        latents = sample_latents(pipeline, batch, settings, loop, given, ends, generators, on_step)
        with torch.no_grad():
            videos = decode(pipeline.vae, latents.to(dtype), settings)  # [B, 3, T, H, W]
            if shared and loop + 1 < settings.loop:
                ends = pipeline.vae.encode(videos[:, :, -shared:], posterior="mean")
        for clip, video in zip(clips, videos, strict=True):
            clip.append(to_uint8(video if loop == 0 else video[:, shared:]))
    return [np.concatenate(parts) for parts in clips]


def sample_latents(
    pipeline: Pipeline,
    batch: Sequence[SampleRequest],
    settings: SamplingSettings,
    loop: int,
    references: Sequence[Sequence[Tensor]],
    ends: Tensor | None,
    generators: Sequence[torch.Generator],
    on_step: OnStep | None = None,
) -> Tensor:
    """Latents of one clip of each sample.

    Args:
        pipeline: loaded parts.
        batch: prompts and sample numbers.
        settings: size, fps, loops.
        loop: which clip.
        references: per sample the latents of its references, each [C, R, h, w].
        ends: what this clip begins with, [B, C, t', h, w]; None for a clip of its own.
        generators: source of the noise of each sample.
        on_step: as of `sample_batch`.

    Returns:
        [B, C, t, h, w]; given frames with edit ratio 0 are exactly those of their reference.

    Raises:
        CheckpointError: the model gives numbers that are not finite.
    """
    latent_size = pipeline.vae.get_latent_size((settings.num_frames, *settings.image_size))
    shape = (len(batch), pipeline.vae.out_channels, *latent_size)
    noise = draw_noise(torch.empty(shape, device=pipeline.device), generators)
    z, mask = noise, None
    begins = reads_given(pipeline.model)  # told beside the noise, nothing of which is replaced
    if batch[0].masked_loops(settings)[loop] and not begins:
        z, mask = _with_frames(noise, batch, settings, loop, references, ends)
    texts = [loop_texts(r.prompt.text, settings.loop, pipeline.clean)[loop] for r in batch]
    conditions = sample_conditions(pipeline, settings, len(batch))
    if begins:
        conditions |= given_conditions(pipeline, batch, settings)
    sample = partial(
        pipeline.scheduler.sample,
        *(pipeline.model, pipeline.texts, texts, None, pipeline.device, conditions),
        z=z,
        mask=mask,
        generator=generators,
        watch=_watch(previews(pipeline.vae, batch, settings), on_step),
    )
    latents = in_memory(sample, generators, apart=settings.guidance_apart)
    if not latents.isfinite().all():
        raise CheckpointError(
            f"{pipeline.identity['checkpoint']}: the model gives numbers that are not finite;"
            " use an earlier checkpoint or dtype fp32."
        )
    return latents


def _watch(look: Watch | None, on_step: OnStep | None) -> Watch | None:
    if on_step is None:
        return look

    def watch(step: int, estimate: Estimate) -> None:
        on_step()
        if look is not None:
            look(step, estimate)

    return watch


def _with_frames(
    noise: Tensor,
    batch: Sequence[SampleRequest],
    settings: SamplingSettings,
    loop: int,
    references: Sequence[Sequence[Tensor]],
    ends: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Noise [B, C, t, h, w] with frames of references in it, and the mask [B, t] of them."""
    strategies = [request.prompt.rules for request in batch]
    if ends is not None:
        references = [[*own, end] for own, end in zip(references, ends, strict=True)]
        strategies = [
            (*rules, continue_rule(loop, len(own) - 1, ends.shape[2]))
            for own, rules in zip(references, strategies, strict=True)
        ]
    z, mask = apply_strategies(noise, references, strategies, loop, align=settings.align)
    # an edit ratio of 1 keeps nothing, so the frame has to start from noise
    return torch.where(frame_view(mask == 1), noise, z), mask


def in_memory(
    sample: Callable[..., Tensor], generators: Sequence[torch.Generator], *, apart: bool
) -> Tensor:
    """Sample with both halves of guidance at once, or one after the other where it must be.

    Args:
        sample: takes `apart`, whether they do.
        generators: what it draws from; a second try begins where the first did.
        apart: do not try them at once.

    Raises:
        ConfigError: a GPU has too little memory in either way.
    """
    states = [generator.get_state() for generator in generators]
    for way in [True] if apart else [False, True]:
        try:
            return sample(apart=way)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)
        log.warning(
            "sample guidance halves=%s does not fit the GPU", "apart" if way else "together"
        )
    raise ConfigError(
        "the GPU has too little memory for a batch; use a smaller batch_size, or sp_size for"
        " several GPUs a sample."
    )


def sample_conditions(
    pipeline: Pipeline, settings: SamplingSettings, num_samples: int
) -> Conditions:
    """Conditions of size and time, each float [num_samples]; models take theirs."""
    height, width = settings.image_size
    return size_conditions(
        num_samples,
        num_frames=settings.num_frames,
        height=height,
        width=width,
        fps=pipeline.condition_fps(settings),
        device=pipeline.device,
    )
