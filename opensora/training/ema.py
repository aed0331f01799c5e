"""Exponential moving average of the weights."""

from collections.abc import Mapping

import torch
from torch import Tensor

FIRST_STEPS = 10  # the average follows the weights closely until a multiple of this many steps


class Ema:
    """Average of weights over the steps of training.

    Step n keeps min(decay, (1 + n) / (10 + n)) of the average, so that a short run does not carry
    its random start along. Sampling uses the average.

    Attributes:
        average: by the names of the weights, split like them.

    Args:
        weights: what this worker has of those that are trained; averaged from their present
            values on.
        decay: share of the average that a late step keeps.
    """

    def __init__(self, weights: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self._live = list(weights.values())
        self.average = {name: value.detach().clone() for name, value in weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights that step `step` (from 0) made."""
        decay = min(self.decay, (1 + step) / (FIRST_STEPS + step))
        torch._foreach_lerp_(list(self.average.values()), self._live, 1 - decay)
