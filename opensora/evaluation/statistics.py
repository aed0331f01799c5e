"""Intervals and distances that the metrics share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Z_95 = 1.959963984540054  # two-sided 95 % point of the normal distribution


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Score interval of a proportion; sensible at 0 %, at 100 % and for few trials.

    With p = successes / trials: (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).

    Args:
        successes: in [0, trials].
        trials: independent trials; 0 says nothing, so the interval is [0, 1].
        z: normal quantile of the wanted confidence.

    Raises:
        ValueError: successes outside [0, trials].

    Source: Wilson 1927, J. Am. Stat. Assoc. 22, 209-212.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes {successes} outside [0, {trials}]")
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    scale = 1.0 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    # at the ends the exact bounds are 0 and 1; rounding must not leave them behind
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


def proportion(successes: int, trials: int) -> dict[str, Any]:
    """Describe a proportion: correct, n, accuracy (None for n = 0), low and high (95 %)."""
    low, high = wilson_interval(successes, trials)
    accuracy = successes / trials if trials else None
    return {"correct": successes, "n": trials, "accuracy": accuracy, "low": low, "high": high}


def mean_interval(values: np.ndarray) -> dict[str, Any]:
    """Describe a mean: mean, n, low and high (95 %, normal; equal to the mean for n < 2)."""
    count = len(values)
    if count == 0:
        return {"mean": None, "n": 0, "low": None, "high": None}
    mean = float(np.mean(values))
    half = Z_95 * float(np.std(values, ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    return {"mean": mean, "n": count, "low": mean - half, "high": mean + half}
