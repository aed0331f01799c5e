"""Compare detected attributes with the expected ones: accuracies, chance levels, confusions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from opensora.demo.detector import detect
from opensora.evaluation.statistics import proportion

ATTRIBUTES = ("colour", "shape", "direction")
ALL = "all"  # every attribute right at once
NOTHING = "none"  # the detector was not sure

Attributes = Mapping[str, str | None]


def detect_attributes(frames: np.ndarray) -> dict[str, str | None]:
    """Run the detector on frames uint8 [T, H, W, 3]; None where it is not sure."""
    found = detect(frames)
    return {name: getattr(found, name) for name in ATTRIBUTES}


def known_values(truth: pd.DataFrame) -> dict[str, list[str]]:
    """List the values every attribute takes in a truth table, sorted, empty cells left out."""
    return {name: sorted(set(truth[name]) - {""}) for name in ATTRIBUTES}


def judge_samples(
    expected: Sequence[Attributes],
    detected: Sequence[Attributes],
    values: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Count how often the detector saw what was asked for.

    An attribute that is expected to be nothing (the direction of an image) does not count. Two
    levels of chance stand beside each accuracy: `chance` is a blind guess among the known values;
    `shuffled` is what these very videos would score against each other's expectations, which
    shows a model that makes the same good video for every prompt.

    Args:
        expected: attributes asked for, one mapping per video.
        detected: attributes seen, in the same order.
        values: the known values of each attribute.

    Returns:
        For each of colour, shape, direction and all: correct, n, accuracy, low, high (Wilson
        95 %), chance, shuffled; and under `confusion` a table per attribute.
    """
    result: dict[str, Any] = {}
    confusion: dict[str, Any] = {}
    joint_chance = 1.0
    for name in ATTRIBUTES:
        pairs = [
            (want[name], seen[name])
            for want, seen in zip(expected, detected, strict=True)
            if want[name]
        ]
        chance = 1.0 / len(values[name]) if values[name] else None
        joint_chance *= chance or 1.0
        result[name] = _score(pairs, chance)
        confusion[name] = _confusion(pairs, values[name])
    pairs_of_all = [
        (tuple(want[name] for name in ATTRIBUTES), tuple(seen[name] for name in ATTRIBUTES))
        for want, seen in zip(expected, detected, strict=True)
        if all(want[name] for name in ATTRIBUTES)
    ]
    result[ALL] = _score(pairs_of_all, joint_chance)
    result["confusion"] = confusion
    return result


def _score(pairs: Sequence[tuple[Any, Any]], chance: float | None) -> dict[str, Any]:
    score = proportion(sum(want == seen for want, seen in pairs), len(pairs))
    return {**score, "chance": chance, "shuffled": _shuffled(pairs)}


def _shuffled(pairs: Sequence[tuple[Any, Any]]) -> float | None:
    """Expected accuracy when the videos are dealt to the prompts at random."""
    if not pairs:
        return None
    wanted = Counter(want for want, _ in pairs)
    seen = Counter(seen for _, seen in pairs)
    return sum(count * seen[value] for value, count in wanted.items()) / len(pairs) ** 2


def _confusion(pairs: Sequence[tuple[Any, Any]], values: Sequence[str]) -> dict[str, Any]:
    """Counts [expected][detected], the last column for "not sure"."""
    columns = [*values, NOTHING]
    counts = Counter((want, seen or NOTHING) for want, seen in pairs)
    table = [[counts[row, column] for column in columns] for row in values]
    return {"expected": list(values), "detected": columns, "counts": table}
