"""Intervals and distances that the metrics share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from opensora.core.seed import derive_seed

RESAMPLES = 2000  # of a bootstrap: a bound moves by a few per cent of the width from draw to draw
_DRAWS_AT_ONCE = 1 << 20  # bounds the memory
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


def summarise(values: Mapping[str, float | None], groups: Mapping[str, str]) -> dict[str, Any]:
    """What the JSON of a metric says of its values: mean, low, high (95 %), count, samples.

    Values of one group are not independent (samples of one prompt, clips of one source), so the
    interval is a bootstrap over groups. It is None where there are fewer than two.

    Args:
        values: id -> value; None, NaN and infinity have no value and do not count.
        groups: id -> name of its group.
    """
    known = {name: float(v) for name, v in values.items() if v is not None and math.isfinite(v)}
    mean, low, high = bootstrap_mean(list(known.values()), [groups[name] for name in known])
    samples = {name: known.get(name) for name in values}
    return {"mean": mean, "low": low, "high": high, "count": len(known), "samples": samples}


def bootstrap_mean(
    values: Sequence[float], groups: Sequence[str]
) -> tuple[float | None, float | None, float | None]:
    """A mean and its 95 % bootstrap interval over groups.

    The percentiles are widened for few groups, which are narrow by nature: by sqrt(n / (n - 1))
    and by Student's quantile in place of the normal one.

    Args:
        values: [N].
        groups: name of each value's group.

    Returns:
        Mean, low, high; the mean is None without values, the bounds with fewer than two groups.

    Source: Hesterberg 2015, "What Teachers Should Know About the Bootstrap", arXiv:1411.5279.
    """
    if not len(values):
        return None, None, None
    mean = math.fsum(values) / len(values)
    names = sorted(set(groups))
    count = len(names)
    if count < 2:
        return mean, None, None
    place = {name: k for k, name in enumerate(names)}
    where = np.array([place[name] for name in groups])  # [N]
    sums = np.bincount(where, np.asarray(values, dtype=np.float64), minlength=count)  # [G]
    sizes = np.bincount(where, minlength=count)
    draw = np.random.default_rng(derive_seed("bootstrap", count))
    means = []
    for start in range(0, RESAMPLES, step := max(1, _DRAWS_AT_ONCE // count)):
        rows = min(step, RESAMPLES - start)
        drawn = draw.integers(count, size=(rows, count))  # [rows, G]
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    widened = math.sqrt(count / (count - 1)) * _student(count - 1)
    tail = 0.5 * math.erfc(widened / math.sqrt(2.0))
    low, high = np.quantile(np.concatenate(means), [tail, 1.0 - tail])
    return mean, float(low), float(high)


def _student(freedom: int) -> float:
    """Two-sided 95 % point of Student's distribution, by its expansion around the normal one.

    Off by 3 % at two degrees of freedom and less above; one bounds nothing, and neither does this.

    Source: Abramowitz and Stegun 1964, 26.7.5.
    """
    z = Z_95
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom ** (k + 1) for k, term in enumerate(terms))
