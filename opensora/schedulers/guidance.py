"""A model guided by its prompts: with and without them at once, or one after the other.

Axis letters: B sample, C channel, T frame, H height, W width, L text token, D text channel.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from opensora.schedulers.common import Conditions, Model

Estimate = Callable[[], Tensor]
"""Makes the data as a step sees them, [B, C, T, H, W]."""

Watch = Callable[[int, Estimate], None]


class SecondScale(NamedTuple):
    """Guidance of the second of two transformers.

    Attributes:
        below: the timestep below which it holds.
        scale: guidance scale.
    """

    below: float
    scale: float


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
        null: the conditions of "no prompt", with B rows; not used at scale 1. That half keeps all
            others: where only y is given, the mask of the prompt, as caption dropout does.
        apart: run the halves one after the other, for half of the activations' memory.
        watch: told the number of each call, from 1, and what makes its estimate of the data.
        second: another scale for little noise; None = the same.

    Source: Ho and Salimans 2022, arXiv:2207.12598.
    """

    def __init__(
        self,
        model: Model,
        conditions: Conditions,
        scale: float,
        null: Mapping[str, Tensor] | None = None,
        *,
        apart: bool = False,
        watch: Watch | None = None,
        second: SecondScale | None = None,
    ) -> None:
        self._model, self._scale, self._second = model, scale, second
        self._watch, self._calls = watch, 0
        self.conditions = conditions
        self.is_guided = scale != 1 or (second is not None and second.scale != 1)
        runs = [conditions]  # conditions of each call of the model
        if self.is_guided:
            assert null is not None
            runs.append(cast(Conditions, {**conditions, **_like(null, conditions)}))
            if not apart:
                runs = [_together(*runs)]
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
        guided = unconditional + self._scale_at(t) * (conditional - unconditional)
        rest = output[: len(x), channels:]
        return torch.cat([guided, rest], dim=1) if rest.shape[1] else guided

    def _scale_at(self, t: Tensor) -> float:
        """The scale at timesteps [B], of which the first one speaks for all."""
        if self._second is not None and bool((t[0] < self._second.below).item()):
            return self._second.scale
        return self._scale

    def tell(self, estimate: Estimate) -> None:
        """Tell whoever watches what the data look like after a call.

        Args:
            estimate: makes them; it is called only if somebody wants to see them.
        """
        self._calls += 1
        if self._watch is not None:
            self._watch(self._calls, estimate)

    def _call(self, run: Conditions, x: Tensor, t: Tensor, x_mask: Tensor | None) -> Tensor:
        if x_mask is not None:
            run = Conditions(**run)
            run["x_mask"] = x_mask
        return self._model(x, t, **run)


def _with_text(model: Model, conditions: Conditions) -> Conditions:
    """Conditions whose text is ready for all timesteps, where the model can make it so."""
    encode: Any = getattr(model, "encode_text_once", None)
    if encode is None:
        return conditions
    ready = Conditions(**conditions)
    ready["y"] = encode(conditions["y"], ready.pop("mask", None))
    return ready


def _like(null: Mapping[str, Tensor], conditions: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value.to(conditions[name]) for name, value in null.items()}


def _together(first: Mapping[str, Any], second: Mapping[str, Any]) -> Conditions:
    rows = {name: torch.cat([value, second[name]]) for name, value in first.items()}
    return cast(Conditions, rows)


def _twice(rows: Tensor) -> Tensor:
    return torch.cat([rows, rows])
