"""The sampling loop that all schedulers share: start noise, text, guidance, progress.

Axis letters: B sample, C channel, T frame, H height, W width, L text token, D text channel.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor

from opensora.core.errors import ConfigError
from opensora.core.log import progress as show_progress
from opensora.schedulers.common import (
    Conditions,
    Generators,
    Model,
    TextEncoder,
    draw_noise,
    map_conditions,
)
from opensora.schedulers.guidance import GuidedModel, SecondScale, Watch

Step = TypeVar("Step")


class Display(Protocol):
    """Passes on the steps of a loop, maybe with a bar."""

    def __call__(self, steps: Sequence[Step], /) -> Iterable[Step]:
        """Yield every step."""
        ...


class Sampler(ABC):
    """Base of the schedulers: `sample` gets everything ready, `walk` goes from noise to data.

    Attributes:
        cfg_scale: guidance scale; 1 skips the unconditional half.
        cfg_scale_2: that of the second of two transformers; None = the same.
        num_timesteps: t of pure noise.
        keeps_frames: `sample` takes a mask.
    """

    cfg_scale: float
    cfg_scale_2: float | None = None
    num_timesteps: int
    keeps_frames: ClassVar[bool] = True

    @abstractmethod
    def walk(
        self,
        network: GuidedModel,
        z: Tensor,
        mask: Tensor | None,
        generator: Generators,
        display: Display,
    ) -> Tensor:
        """Take all steps from noise to data; tell the network its estimate after each call.

        Args:
            network: the model with its conditions.
            z: [B, C, T, H, W], where to start.
            mask: [B, T] as `sample` takes it, on the device of z.
            generator: source of further noise, or one per sample.
            display: wraps the steps to show progress.

        Returns:
            Latents [B, C, T, H, W].
        """

    @torch.no_grad()
    def sample(
        self,
        model: Model,
        text_encoder: TextEncoder,
        prompts: list[str],
        z_size: Sequence[int] | None,
        device: torch.device | str,
        additional_args: Conditions | None = None,
        *,
        z: Tensor | None = None,
        mask: Tensor | None = None,
        guidance_scale: float | None = None,
        progress: bool = False,
        generator: Generators = None,
        apart: bool = False,
        watch: Watch | None = None,
    ) -> Tensor:
        """Make latents for prompts.

        Args:
            model: what the scheduler trains; its first C channels are guided.
            text_encoder: encodes the prompts and gives the null embedding.
            prompts: clean prompts, one per sample.
            z_size: (C, T, H, W) of the noise to draw; unused when z is given.
            device: where the model runs.
            additional_args: per-sample values [B]: height, width, num_frames, ar, fps.
            z: ready noise [B, C, T, H, W]; with a mask, its frames below 1 hold clean latents.
            mask: [B, T] in [0, 1]: 1 = frame is made from noise, 0 = frame is kept exactly, m
                between = frame starts from its clean value noised to level m.
            guidance_scale: replaces cfg_scale.
            progress: show progress over the steps.
            generator: source of all noise, or one per sample.
            apart: run both halves of guidance one after the other, see `GuidedModel`.
            watch: told how far it is and what the data look like by then, see `GuidedModel`.

        Returns:
            Latents [B, C, T, H, W].

        Raises:
            ConfigError: a mask for a scheduler that keeps no frames.
        """
        if mask is not None and not self.keeps_frames:
            raise ConfigError(
                f"scheduler {type(self).__name__} can not keep frames; use 'iddpm' or 'rflow' with"
                " a mask."
            )
        scale = self.cfg_scale if guidance_scale is None else guidance_scale
        z = start_noise(len(prompts), z_size, device, z, generator)
        encoded: dict[str, Any] = {**text_encoder.encode(prompts), **(additional_args or {})}
        conditions = map_conditions(lambda value: value.to(device), encoded)
        second = self._second(model, scale)
        is_guided = scale != 1 or (second is not None and second.scale != 1)
        null = text_encoder.null(len(prompts)) if is_guided else None
        network = GuidedModel(
            model, conditions, scale, null, apart=apart, watch=watch, second=second
        )
        mask = None if mask is None else mask.to(device, torch.float32)
        return self.walk(network, z, mask, generator, _with_bar if progress else iter)

    def _second(self, model: Model, scale: float) -> SecondScale | None:
        """The guidance of the second of two transformers, whose noise ends at a boundary."""
        boundary = getattr(model, "boundary", None)
        if boundary is None:
            return None
        own = scale if self.cfg_scale_2 is None else self.cfg_scale_2
        return SecondScale(boundary * self.num_timesteps, own)


def start_noise(
    num_samples: int,
    z_size: Sequence[int] | None,
    device: torch.device | str,
    z: Tensor | None,
    generator: Generators,
) -> Tensor:
    """The noise that sampling starts from: `z` if given, else drawn, [num_samples, *z_size].

    Raises:
        ValueError: neither z nor its size is given, or z holds another number of samples.
    """
    if z is None:
        if z_size is None:
            raise ValueError("sample needs z_size (C, T, H, W) or z")
        return draw_noise(torch.empty(num_samples, *z_size, device=device), generator)
    if len(z) != num_samples:
        raise ValueError(f"z holds {len(z)} samples but there are {num_samples} prompts")
    return z.to(device)


def _with_bar(steps: Sequence[Step], /) -> Iterable[Step]:
    return show_progress(steps, description="sample steps")
