"""What all schedulers share: noise, text conditions, guidance, masked means.

Axis letters: B sample, C channel, T frame, H height, W width, L text token, D text channel.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

Model = Callable[..., Tensor]
"""Called as model(x [B, C, T, H, W], t [B], **model_kwargs); returns [B, C or 2C, T, H, W]."""

Generators = torch.Generator | Sequence[torch.Generator] | None
"""One generator for the batch, or one per sample (then no sample depends on its batch)."""


class TextEncoder(Protocol):
    """What a scheduler needs from a text encoder."""

    def encode(self, prompts: list[str]) -> Mapping[str, Tensor]:
        """Return y [B, 1, L, D] and, where the encoder pads, mask [B, L]."""
        ...

    def null(self, n: int) -> Tensor:
        """Return the embedding of "no prompt" n times: [n, 1, L, D]."""
        ...


def draw_noise(like: Tensor, generator: Generators = None) -> Tensor:
    """Standard normal noise with the shape, dtype and device of `like` [B, ...].

    A generator draws on its own device, so that a seed gives the same noise on every machine.
    """
    if generator is None:
        return torch.randn_like(like)
    if isinstance(generator, torch.Generator):
        noise = torch.randn(like.shape, generator=generator, device=generator.device)
    else:
        if len(generator) != len(like):
            raise ValueError(f"{len(generator)} generators for {len(like)} samples")
        rows = [torch.randn(like.shape[1:], generator=g, device=g.device) for g in generator]
        noise = torch.stack(rows)
    return noise.to(like)


def start_noise(
    num_samples: int,
    z_size: Sequence[int] | None,
    device: torch.device | str,
    z: Tensor | None,
    generator: Generators,
) -> Tensor:
    """The noise that sampling starts from: `z` if given, else drawn, [num_samples, *z_size]."""
    if z is None:
        if z_size is None:
            raise ValueError("sample needs z_size (C, T, H, W) or z")
        return draw_noise(torch.empty(num_samples, *z_size, device=device), generator)
    if len(z) != num_samples:
        raise ValueError(f"z holds {len(z)} samples but there are {num_samples} prompts")
    return z.to(device)


def conditions(
    text_encoder: TextEncoder,
    prompts: list[str],
    device: torch.device | str,
    additional_args: Mapping[str, Tensor] | None,
    *,
    guided: bool,
) -> dict[str, Any]:
    """Keywords of the model for one forward: rows [conditional, unconditional] when guided.

    Args:
        text_encoder: gives `y`, `mask` and the null embedding.
        prompts: clean prompts, one per sample.
        device: where the model runs.
        additional_args: per-sample values [B] (height, width, num_frames, ar, fps).
        guided: whether the null-prompt half is appended.

    Returns:
        y [B or 2B, 1, L, D], mask [B or 2B, L] if the encoder gives one, and the additional values.
        The unconditional half keeps the mask of the prompt, as caption dropout does in training.
    """
    model_args: dict[str, Any] = {k: v.to(device) for k, v in text_encoder.encode(prompts).items()}
    for name, value in (additional_args or {}).items():
        model_args[name] = value.to(device)
    if guided:
        null = text_encoder.null(len(prompts)).to(model_args["y"])  # [B, 1, L, D]
        model_args = {name: torch.cat([value, value]) for name, value in model_args.items()}
        model_args["y"] = torch.cat([model_args["y"][: len(prompts)], null])
    return model_args


def guide(output: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance of a [conditional, unconditional] batch: [2B, ...] -> [B, ...].

    Source: Ho and Salimans 2022, arXiv:2207.12598; scale 1 is the conditional output alone.
    """
    conditional, unconditional = output.chunk(2)
    return unconditional + scale * (conditional - unconditional)


def add_frame_mask(model_kwargs: Mapping[str, Any] | None, mask: Tensor | None) -> dict[str, Any]:
    """Model keywords of a training step; a frame mask tells the model which frames are clean."""
    keywords = dict(model_kwargs or {})
    if mask is not None:
        keywords.setdefault("x_mask", mask.bool())
    return keywords


def frame_view(mask: Tensor) -> Tensor:
    """[B, T] as [B, 1, T, 1, 1], to select frames of [B, C, T, H, W]."""
    return mask[:, None, :, None, None]


def mean_per_sample(value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over all but the batch axis, over the frames of the mask only where one is given.

    Args:
        value: [B, C, T, H, W] (any [B, ...] without a mask).
        mask: bool [B, T], True = frame counts; a sample without such a frame gives 0.

    Returns:
        [B].
    """
    if mask is None:
        return value.flatten(1).mean(1)
    frames = mask.to(value.dtype)  # [B, T]
    per_frame = value.mean(dim=(1, 3, 4))  # [B, T]
    return (per_frame * frames).sum(1) / frames.sum(1).clamp(min=1)
