"""Exponential moving average of the weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

FIRST_STEPS = 10  # the average follows the weights closely until a multiple of this many steps


class Ema:
    """Average of a model's weights over the steps of training.

    Step n keeps min(decay, (1 + n) / (10 + n)) of the average, so that a short run does not carry
    its random start along. Sampling uses the average.

    Attributes:
        average: of all that is trained, by its name in the model.

    Args:
        model: averaged from its present weights on.
        decay: share of the average that a late step keeps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._model = model
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._live: list[Tensor] = list(trained.values())
        self.average = {name: p.detach().clone() for name, p in trained.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights that step `step` (from 0) made."""
        decay = min(self.decay, (1 + step) / (FIRST_STEPS + step))
        torch._foreach_lerp_(list(self.average.values()), self._live, 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """All entries of the model's `state_dict`, the trained ones averaged."""
        return {**self._model.state_dict(), **self.average}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from an average with the names of the model's `state_dict`."""
        for name, average in self.average.items():
            average.copy_(state[name])
