"""What all schedulers share: conditions of a model, noise, frame masks, masked means.

Axis letters: B sample, C channel, T frame, H height, W width, L text token, D text channel.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypedDict, Unpack, cast

import torch
from torch import Tensor

Generators = torch.Generator | Sequence[torch.Generator] | None
"""One generator for the batch, or one per sample (then no sample depends on its batch)."""


class Conditions(TypedDict, total=False):
    """What a model may take besides latents and timesteps; it takes what its forward names.

    Attributes:
        y: text embeddings [B, 1, L, D], or class labels [B] int64.
        mask: [B, L], nonzero = token of the text, zero = padding.
        x_mask: bool [B, T], True = noised frame, False = given clean frame.
        num_frames: [B] frames of the video before the autoencoder.
        height: [B] pixels.
        width: [B] pixels.
        ar: [B] height / width.
        fps: [B] frames per second; 120 for images.
        given: latents [B, C, T, H, W] of a video that shows its given frames alone.
        num_given: [B], 1 = the first frame is given, 2 = the last one as well.
        picture: embeddings of the given frames [B, n, P, D].
    """

    y: Tensor
    mask: Tensor
    x_mask: Tensor
    num_frames: Tensor
    height: Tensor
    width: Tensor
    ar: Tensor
    fps: Tensor
    given: Tensor
    num_given: Tensor
    picture: Tensor


class Model(Protocol):
    """A network that predicts noise, data or velocity."""

    def __call__(self, x: Tensor, t: Tensor, /, **conditions: Unpack[Conditions]) -> Tensor:
        """Predict [B, C or 2C, T, H, W] from latents x [B, C, T, H, W] at timesteps t [B]."""
        ...


class TextEncoder(Protocol):
    """What a scheduler needs from a text encoder."""

    def encode(self, prompts: list[str]) -> Mapping[str, Tensor]:
        """Return y [B, 1, L, D] and, where the encoder pads, mask [B, L]."""
        ...

    def null(self, n: int) -> Mapping[str, Tensor]:
        """Return the conditions of "no prompt" n times: y [n, 1, L, D], and maybe its mask."""
        ...


def size_conditions(
    num_samples: int,
    *,
    num_frames: float,
    height: float,
    width: float,
    fps: float,
    device: torch.device | str | None = None,
) -> Conditions:
    """The conditions of size and time, each float [num_samples].

    Args:
        num_samples: B, all of one size.
        num_frames: of the video before the autoencoder.
        height: pixels.
        width: pixels.
        fps: frames per second; 120 for images.
        device: where the model runs; None = torch's default.
    """

    def rows(value: float) -> Tensor:
        return torch.full((num_samples,), float(value), device=device)

    return Conditions(
        num_frames=rows(num_frames),
        height=rows(height),
        width=rows(width),
        ar=rows(height / width),
        fps=rows(fps),
    )


def map_conditions(
    change: Callable[[Tensor], Tensor], conditions: Mapping[str, object] | Conditions
) -> Conditions:
    """Change the value of every condition alike; the names stay."""
    changed = {name: change(cast(Tensor, value)) for name, value in conditions.items()}
    return cast(Conditions, changed)


def add_frame_mask(model_kwargs: Conditions | None, mask: Tensor | None) -> Conditions:
    """Conditions of a training step; a frame mask tells the model which frames are clean."""
    conditions: Conditions = {**model_kwargs} if model_kwargs else {}
    if mask is not None:
        conditions.setdefault("x_mask", mask.bool())
    return conditions


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


class DeviceTables:
    """Constant tables, copied to a device once: a copy at every step would wait for it.

    Args:
        **tables: by name, on the CPU.
    """

    def __init__(self, **tables: Tensor) -> None:
        self._tables = tables
        self._copies: dict[tuple[str, torch.device], Tensor] = {}

    def on(self, device: torch.device, name: str) -> Tensor:
        """The table called `name` on a device."""
        key = name, device
        if key not in self._copies:
            with torch.inference_mode(False):  # sampling may come first and training later
                self._copies[key] = self._tables[name].to(device)
        return self._copies[key]


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
