"""What was measured, as the page shows it: a row a number, a column a checkpoint, differences.

A metric may name its numbers as it likes: whatever holds a mean or an accuracy becomes a row, with
its interval where there is one. Values of single samples go to the gallery, which sorts by them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from opensora.core.seed import derive_seed
from opensora.report.collect import RunFolder, StageFolder
from opensora.report.media import Media
from opensora.report.samples.records import keyed_rows
from opensora.tables.columns import ID

_VALUES = ("accuracy", "mean")  # names of what a row is about
_BESIDE = ("chance", "shuffled", "floor")  # levels that a value is to be compared with
_NOT_ROWS = frozenset({"samples", "confusion", "model", "version"})
_ROOMS = frozenset({"splits", "confusion"})  # names of what holds others
_DRAWS = 2000  # of the bootstrap
_FEWEST = 5  # prompts below which an interval says too little to call a difference more than noise
# names of both sides -> the values of samples of both, by prompt
Pairs = Mapping[str, Sequence[tuple[float, float]]]


def evaluation(run: RunFolder, media: Media) -> dict[str, Any] | None:
    """Everything the evaluation section shows; None where nothing is measured.

    Args:
        run: its stages in order.
        media: not needed, numbers have no files.

    Returns:
        `points` (names, in order), `rows` (those of `measured_rows`),
        `differences` (metric, before, after, better: higher, lower or None, mean, low, high,
        prompts, samples, is_noise; of equal versions of a metric alone),
        `confusions` (point, part, expected, detected, counts), `skipped` and `unreadable` (point,
        name, why).
    """
    measured = {stage.name: stage.evaluation for stage in run.stages if stage.evaluation}
    if not measured:
        return None
    return {
        "points": list(measured),
        "rows": measured_rows(measured),
        "differences": _differences([stage for stage in run.stages if stage.evaluation]),
        "confusions": [
            {"point": point, "part": part, **table}
            for point, found in measured.items()
            for part, table in _confusions(found.get("metrics", {}))
        ],
        "skipped": _sentences(measured, "skipped"),
        "unreadable": _sentences(measured, "unreadable"),
    }


def sample_values(evaluation: Mapping[str, Any] | None) -> dict[str, dict[str, float]]:
    """The values of single samples: metric -> id of a sample -> value; finite numbers only.

    A metric that gives several numbers for a sample counts as several, named with a point.
    """
    found: dict[str, dict[str, float]] = {}
    for name, result in (evaluation or {}).get("metrics", {}).items():
        samples = result.get("samples", {})
        if isinstance(samples, Mapping):
            rows = list(samples.items())
        else:
            rows = [(row.get("id"), row) for row in samples if isinstance(row, Mapping)]
        for key, row in rows:
            for part, value in _numbers(row):
                found.setdefault(f"{name}.{part}" if part else name, {})[str(key)] = value
    return found


def _numbers(row: Any) -> Iterator[tuple[str, float]]:
    """The numbers of one sample by name; one without a name where there is but one."""
    if not isinstance(row, Mapping):
        if _is_number(row):
            yield "", float(row)
        return
    if isinstance(row.get("expected"), Mapping):  # a verdict: the share of what is right
        seen = row.get("detected") or {}
        right = [seen.get(name) == wanted for name, wanted in row["expected"].items() if wanted]
        if right:
            yield "", sum(right) / len(right)
        return
    numbers = {str(k): float(v) for k, v in row.items() if k != "id" and _is_number(v)}
    for name, value in numbers.items():
        yield (name if len(numbers) > 1 else ""), value


def measured_rows(measured: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a number that any point has, in the order of the metrics.

    Args:
        measured: name of a point -> its evaluation.

    Returns:
        Of each: metric, part, kind (mean or accuracy), scale ([low, high] to draw it on), and
        cells, one a point or None: value, low, high, n; what it is to be compared with (chance,
        shuffled, floor and floor_n, how many that is of); score, VBench's own number.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for k, found in enumerate(measured.values()):
        for name, result in found.get("metrics", {}).items():
            for part, kind, cell in _walk(result, ()):
                empty = {"metric": name, "part": part, "kind": kind}
                empty["cells"] = [None] * len(measured)
                rows.setdefault((name, part), empty)["cells"][k] = cell
    values: dict[str, list[float]] = {}
    for found in measured.values():
        for name, samples in sample_values(found).items():
            values.setdefault(name, []).extend(samples.values())
    for (name, part), row in rows.items():
        row["scale"] = _scale(row, values.get(f"{name}.{part}" if part else name, []))
    return list(rows.values())


def _scale(row: Mapping[str, Any], values: Sequence[float]) -> tuple[float, float]:
    """Where the numbers of a row are drawn.

    Shares lie between 0 and 1, and means among the values of single samples. Where there are none,
    the scale is twice as wide as all intervals together, so that their ends are seen.
    """
    if row["kind"] == "accuracy":
        return 0.0, 1.0
    names = ("value", "low", "high", *_BESIDE)
    cells = [cell for cell in row["cells"] if cell]
    ends = [cell[name] for cell in cells for name in names if cell.get(name) is not None]
    low, high = min(ends), max(ends)
    if values:
        return min(low, *values), max(high, *values)
    wider = (high - low) / 2 or abs(high) / 10 or 1.0
    return max(low - wider, 0.0) if low >= 0 else low - wider, high + wider


def _walk(result: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """All numbers below a result: the names on the way, mean or accuracy, and the cell."""
    if not isinstance(result, Mapping):
        return
    kind = next((name for name in _VALUES if _is_number(result.get(name))), None)
    if kind is not None:
        cell = {
            "value": float(result[kind]),
            "low": _number(result.get("low")),
            "high": _number(result.get("high")),
            "n": result.get("count", result.get("n")),
        }
        beside = {name: result.get(name) for name in (*_BESIDE, "score")} | _floor(result)
        cell |= {name: level for name, level in beside.items() if _is_number(level)}
        yield _part(path), kind, cell
    for name, inner in result.items():
        if name not in _NOT_ROWS:
            yield from _walk(inner, (*path, str(name)))


def _floor(result: Mapping[str, Any]) -> dict[str, Any]:
    """The distance that a perfect model would have, and of how many videos; {} without one."""
    floor = result.get("floor")
    if not isinstance(floor, Mapping):
        return {}
    return {"floor": floor.get("value"), "floor_n": floor.get("count")}


def _confusions(result: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Tables of what was expected and what was detected, with the names on the way to them."""
    if not isinstance(result, Mapping):
        return
    if {"expected", "detected", "counts"} <= set(result):
        if result["counts"]:
            kept = {name: result[name] for name in ("expected", "detected", "counts")}
            yield _part(path), kept
        return
    for name, inner in result.items():
        if name != "samples":
            yield from _confusions(inner, (*path, str(name)))


def _part(path: Sequence[str]) -> str:
    """The names on the way to a number that tell it from others."""
    return " / ".join(name for name in path if name not in _ROOMS)


def _differences(stages: Sequence[StageFolder]) -> list[dict[str, Any]]:
    """Every two points that sampled the same, metric by metric."""
    points: dict[str, dict[str, dict[tuple[str, str], float]]] = {}
    results = {stage.name: (stage.evaluation or {}).get("metrics", {}) for stage in stages}
    for stage in stages:
        keys = {str(row[ID]): key for row, key, _ in keyed_rows(stage)}
        points[stage.name] = {
            metric: {keys[name]: value for name, value in values.items() if name in keys}
            for metric, values in sample_values(stage.evaluation).items()
        }
    lines = []
    for before, after in itertools.combinations(points, 2):
        for metric in (name for name in points[before] if name in points[after]):
            sides = [results[point].get(metric.partition(".")[0], {}) for point in (before, after)]
            if sides[0].get("version") != sides[1].get("version"):
                continue  # they are no values of one thing
            first, second = points[before][metric], points[after][metric]
            pairs: dict[str, list[tuple[float, float]]] = {}
            for key in (key for key in first if key in second):
                pairs.setdefault(key[0], []).append((first[key], second[key]))
            if pairs:
                difference = paired_difference(pairs)
                names = {"metric": metric, "before": before, "after": after}
                lines.append({**names, "better": sides[1].get("better"), **difference})
    return lines


def paired_difference(pairs: Pairs) -> dict[str, Any]:
    """Mean of after minus before, with its 95 % interval by a bootstrap over prompts.

    Samples of one prompt are no independent draws, so whole prompts are drawn.

    Args:
        pairs: prompt -> (before, after) of each of its samples.

    Returns:
        mean, low and high (None below five prompts), prompts, samples, is_noise: the interval
        holds 0, or there is none.
    """
    sums = np.array([sum(after - before for before, after in rows) for rows in pairs.values()])
    counts = np.array([len(rows) for rows in pairs.values()], float)
    low = high = None
    if len(pairs) >= _FEWEST:
        draws = np.random.default_rng(derive_seed(0, "report", "differences"))
        drawn = draws.multinomial(len(sums), [1 / len(sums)] * len(sums), size=_DRAWS)  # [draw, P]
        means = (drawn @ sums) / (drawn @ counts)
        low, high = (float(bound) for bound in np.quantile(means, (0.025, 0.975)))
    return {
        "mean": float(sums.sum() / counts.sum()),
        **{"low": low, "high": high, "prompts": len(pairs), "samples": int(counts.sum())},
        "is_noise": low is None or high is None or low <= 0.0 <= high,
    }


def _sentences(measured: Mapping[str, Mapping[str, Any]], kind: str) -> list[dict[str, str]]:
    return [
        {"point": point, "name": str(name), "why": str(why)}
        for point, found in measured.items()
        for name, why in sorted(found.get(kind, {}).items())
    ]


def _is_number(value: Any) -> bool:
    is_plain = isinstance(value, int | float) and not isinstance(value, bool)
    return is_plain and math.isfinite(value)


def _number(value: Any) -> float | None:
    return float(value) if _is_number(value) else None
