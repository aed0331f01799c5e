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

Step = TypeVar("Step")


class Display(Protocol):
    """Passes on the steps of a loop, maybe with a bar."""

    def __call__(self, steps: Sequence[Step], /) -> Iterable[Step]:
        """Yield every step."""
        ...


class GuidedModel:
    """A model with its conditions, called with latents and timesteps alone.

    The conditional and the unconditional half run as one batch, or one after the other; at scale 1
    the conditional half runs alone. What a model makes of texts alone is made here, once for all
    timesteps, where it has `encode_text_once`.

    Attributes:
        conditions: conditions of the prompts, with B rows.

    Args:
        model: predicts [B, C or 2C, T, H, W].
        conditions: conditions of the prompts, with B rows.
        scale: guidance scale.
        null: embeddings of "no prompt" in the place of y, [B, 1, L, D]; not used at scale 1. That
            half keeps the mask of the prompt, as caption dropout does in training.
        apart: run the halves one after the other, for half of the activations' memory.

    Source: Ho and Salimans 2022, arXiv:2207.12598.
    """

    def __init__(
        self,
        model: Model,
        conditions: Conditions,
        scale: float,
        null: Tensor | None = None,
        *,
        apart: bool = False,
    ) -> None:
        self._model, self._scale = model, scale
        self.conditions = conditions
        self.is_guided = scale != 1
        runs = [conditions]  # conditions of each call of the model
        if self.is_guided:
            assert null is not None
            half = Conditions(**conditions)
            half["y"] = null.to(conditions["y"])
            runs.append(half)
            if not apart:
                both = map_conditions(_twice, conditions)
                both["y"] = torch.cat([one["y"] for one in runs])
                runs = [both]
        self._runs = [_with_text(model, run) for run in runs]

    def __call__(
        self,
        x: Tensor,
        t: Tensor,
        *,
        x_mask: Tensor | None = None,
        channels: int | None = None,
        variance: bool = False,
    ) -> Tensor:
        """Output at x, guided in its first channels; the others are those of the prompts.

        Args:
            x: [B, C, T, H, W].
            t: [B], as the model knows timesteps.
            x_mask: bool [B, T], True = noised frame; None = the model gets none.
            channels: how many are guided; None = C.
            variance: also return what the model predicts beyond C channels.

        Returns:
            [B, C, T, H, W], or with the variance all channels of the model.
        """
        together = self.is_guided and len(self._runs) == 1
        if together:
            inputs = _twice(x), _twice(t), None if x_mask is None else _twice(x_mask)
        else:
            inputs = x, t, x_mask
        output = torch.cat([self._call(run, *inputs) for run in self._runs])
        output = output if variance else output[:, : x.shape[1]]
        if not self.is_guided:
            return output
        channels = x.shape[1] if channels is None else channels
        conditional, unconditional = output[:, :channels].chunk(2)
        guided = unconditional + self._scale * (conditional - unconditional)
        rest = output[: len(x), channels:]
        return torch.cat([guided, rest], dim=1) if rest.shape[1] else guided

    def _call(self, run: Conditions, x: Tensor, t: Tensor, x_mask: Tensor | None) -> Tensor:
        if x_mask is not None:
            run = Conditions(**run)
            run["x_mask"] = x_mask
        return self._model(x, t, **run)


class Sampler(ABC):
    """Base of the schedulers: `sample` gets everything ready, `walk` goes from noise to data.

    Attributes:
        cfg_scale: guidance scale; 1 skips the unconditional half.
        keeps_frames: `sample` takes a mask.
    """

    cfg_scale: float
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
        """Take all steps from noise to data.

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
        null = text_encoder.null(len(prompts)) if scale != 1 else None
        network = GuidedModel(model, conditions, scale, null, apart=apart)
        mask = None if mask is None else mask.to(device, torch.float32)
        return self.walk(network, z, mask, generator, _with_bar if progress else iter)


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


def _with_text(model: Model, conditions: Conditions) -> Conditions:
    """Conditions whose text is ready for all timesteps, where the model can make it so."""
    encode: Any = getattr(model, "encode_text_once", None)
    if encode is None:
        return conditions
    ready = Conditions(**conditions)
    ready["y"] = encode(conditions["y"], ready.pop("mask", None))
    return ready


def _twice(rows: Tensor) -> Tensor:
    return torch.cat([rows, rows])


def _with_bar(steps: Sequence[Step], /) -> Iterable[Step]:
    return show_progress(steps, description="sample steps")
