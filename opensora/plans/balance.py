"""Order of the batches of an epoch: by chance, or so that all ranks of a step work equally long.

A step lasts as long as its slowest rank. With `balance = "cost"` the batches of an epoch are sorted
by cost and cut into steps of W neighbours; the steps are shuffled. Which batches an epoch has does
not depend on W. An epoch whose number of batches is no multiple of W ends inside a step: it leaves
a run of neighbours in cost for the end, and the next epoch begins with batches of that cost.
"""

from collections.abc import Callable

import numpy as np

from opensora.buckets.bucket import Bucket
from opensora.core.errors import ConfigError
from opensora.plans.micro_batches import EpochBatches

RANDOM, COST = "random", "cost"

SampleCost = Callable[[Bucket], float]  # of one sample, in any unit


def check_balance_mode(value: object) -> str:
    """Return the meaning of the config field `balance`; None is "random".

    Raises:
        ConfigError: another value.
    """
    if value is None:
        return RANDOM
    if value not in (RANDOM, COST):
        raise ConfigError(f"balance is {value!r}; expected 'random', 'cost' or None")
    return str(value)


class StepBalancer:
    """Orders the batches of one epoch after the other.

    Args:
        world_size: ranks of a step.
        sample_cost: what a sample of a bucket costs.
    """

    def __init__(self, world_size: int, sample_cost: SampleCost) -> None:
        self._world_size = world_size
        self._sample_cost = sample_cost
        self._owed = 0  # batches that the last step still needs
        self._owed_cost = 0.0

    def order(self, batches: EpochBatches, rng: np.random.Generator) -> np.ndarray:
        """Order the batches of the next epoch.

        Args:
            batches: B of them.
            rng: order of equals, of the steps, and of the ranks within a step.

        Returns:
            int [B], a permutation.
        """
        cost_of = np.array([self._sample_cost(cell) for cell in batches.cells], dtype=np.float64)
        costs = cost_of[batches.cell] * batches.sizes  # [B]
        ranked = rng.permutation(len(costs))
        ranked = ranked[np.argsort(costs[ranked], kind="stable")]
        fill = min(self._owed, len(ranked))
        first, ranked = _cut_out(ranked, _run(costs[ranked], fill, rng, self._owed_cost), fill)
        self._owed -= fill
        if len(ranked) == 0:
            return rng.permutation(first)
        left = len(ranked) % self._world_size
        last, ranked = _cut_out(ranked, _run(costs[ranked], left, rng), left)
        if left:
            self._owed = self._world_size - left
            self._owed_cost = float(costs[last].mean())
        steps = rng.permutation(ranked.reshape(-1, self._world_size))
        steps = rng.permuted(steps, axis=1)  # no rank always has the cheapest batch of a step
        return np.concatenate((rng.permutation(first), steps.ravel(), rng.permutation(last)))


def _cut_out(values: np.ndarray, start: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a run of `length` values that begins at `start`, and the rest."""
    return values[start : start + length], np.delete(values, slice(start, start + length))


def _run(
    costs: np.ndarray, length: int, rng: np.random.Generator, target: float | None = None
) -> int:
    """Start of a run of ascending costs that differ least from each other, and from `target`.

    Among several such runs one is taken by chance.
    """
    if length == 0:
        return 0
    low, high = costs[: len(costs) - length + 1], costs[length - 1 :]
    if target is not None:
        low, high = np.minimum(low, target), np.maximum(high, target)
    spread = high - low
    return int(rng.choice(np.flatnonzero(spread == spread.min())))
