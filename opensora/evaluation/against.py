"""Compare evaluations: stages, checkpoints, runs; and say which differences are not noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opensora.core.errors import ConfigError, OpenSoraError
from opensora.core.io import read_json
from opensora.core.terminal import align
from opensora.evaluation.statistics import bootstrap_mean

LAYOUT = 1  # of the JSON file; docs/evaluation.md describes it
NOISE = "noise"


@dataclass(frozen=True)
class Evaluation:
    """What `opensora evaluate` wrote of one set of samples, and what it is called here."""

    name: str
    content: Mapping[str, Any]

    @property
    def metrics(self) -> Mapping[str, Mapping[str, Any]]:
        """Results by the name of the metric."""
        found: Mapping[str, Mapping[str, Any]] = self.content["metrics"]
        return found


def read_evaluations(paths: Sequence[Path]) -> list[Evaluation]:
    """Read files of evaluations; where stages have one name their runs tell them apart.

    Raises:
        ConfigError: fewer than two, or one that is no evaluation of this layout.
    """
    if len(paths) < 2:
        raise ConfigError("--against: one evaluation has nothing to be compared with; give two")
    contents = []
    for path in paths:
        try:
            content = read_json(path)
            version = content["version"]
        except (OpenSoraError, KeyError, TypeError) as error:
            raise ConfigError(
                f"--against: {path} is no evaluation that can be compared; make it with `opensora"
                " evaluate`"
            ) from error
        if version != 2:
            raise ConfigError(
                f"--against: {path} has layout {version} and this version writes 2; evaluate again"
            )
        contents.append(content)
    return [
        Evaluation(name, content)
        for name, content in zip(_names([Path(p) for p in paths]), contents, strict=True)
    ]


def compare(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Compare all with the first.

    Returns:
        `version`; `base`: name of the first; `names`; `metrics`: name -> unit, better, `values`
        (evaluation -> mean, low, high, count) and `differences` (evaluation -> what `difference`
        found); `skipped`: "metric evaluation" -> why the two do not compare.
    """
    base, *others = evaluations
    metrics: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    for metric in sorted(set().union(*(each.metrics for each in evaluations))):
        known = [each for each in evaluations if metric in each.metrics]
        first = known[0].metrics[metric]
        entry = {name: first[name] for name in ("unit", "better", "of")}
        entry["values"] = {
            each.name: {k: each.metrics[metric][k] for k in ("mean", "low", "high", "count")}
            for each in known
        }
        entry["differences"] = {}
        for other in others:
            reason = _reason(metric, base, other)
            if reason:
                skipped[f"{metric} {other.name}"] = reason
            else:
                entry["differences"][other.name] = difference(metric, base, other)
        metrics[metric] = entry
    names = [each.name for each in evaluations]
    return {
        **{"version": LAYOUT, "base": base.name, "names": names},
        **{"metrics": metrics, "skipped": skipped},
    }


def difference(metric: str, base: Evaluation, other: Evaluation) -> dict[str, Any]:
    """How much more a metric is in another evaluation than in the base.

    Where both have values of the same samples (prompt and seed) or clips, of two prompts at least,
    these are compared one by one: what is hard for both is no difference. Else the two means are,
    with the wider interval of two independent ones.

    Returns:
        `mean`, `low`, `high` (95 %), `count` of pairs, `paired`, `verdict`: "better", "worse",
        "higher", "lower", or "noise" where the interval holds 0.
    """
    pairs = _pairs(metric, base, other)
    mean, low, high = bootstrap_mean([p[1] for p in pairs], [p[0] for p in pairs])
    is_paired = low is not None
    if not is_paired:
        mean, low, high = _unpaired(base.metrics[metric], other.metrics[metric])
    found = {"mean": mean, "low": low, "high": high, "count": len(pairs) if is_paired else 0}
    better = base.metrics[metric]["better"]
    return {**found, "paired": is_paired, "verdict": _verdict(low, high, better)}


def table(comparison: Mapping[str, Any]) -> str:
    """The comparison as lines for a terminal."""
    rows = []
    for metric, entry in comparison["metrics"].items():
        for name, value in entry["values"].items():
            change = entry["differences"].get(name)
            rows.append(
                (
                    *(metric, name, _number(value["mean"]), _span(value)),
                    *(("", "", "") if change is None else _cells(change)),
                )
            )
    header = ("metric", "of", "mean", "95 %", "difference", "95 % ", "verdict")
    return align(header, rows, left=("of", "verdict"))


def _cells(change: Mapping[str, Any]) -> tuple[str, str, str]:
    how = f"{change['count']} pairs" if change["paired"] else "means alone"
    return _number(change["mean"], sign="+"), _span(change), f"{change['verdict']} ({how})"


def _number(value: float | None, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.4g}"


def _span(value: Mapping[str, Any]) -> str:
    if value["low"] is None:
        return ""
    return f"{value['low']:.4g} to {value['high']:.4g}"


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that tell them apart, without what all of them share."""
    parts = [(*path.resolve().parts[:-1], path.stem) for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        ends = ["/".join(p for p in each[-length:] if p != "evaluation") for each in parts]
        if len(set(ends)) == len(ends):
            return ends
    raise ConfigError("--against: one file is named twice; name each once")


def _reason(metric: str, base: Evaluation, other: Evaluation) -> str | None:
    """Why two results do not compare; None where they do."""
    for each in (base, other):
        if metric not in each.metrics:
            return str(each.content["skipped"].get(metric, f"{each.name} has no such metric"))
        if each.metrics[metric]["mean"] is None:
            return f"{each.name} has no value"
    one, two = base.metrics[metric], other.metrics[metric]
    if one["version"] != two["version"]:
        return f"its versions are {one['version']} and {two['version']}; evaluate again"
    # of a loss the model is what is compared, and its scheduler what it is measured by
    for name in ("scheduler",) if "scheduler" in one else ("model", "scheduler"):
        if one.get(name) != two.get(name):
            return f"they were measured by another {name}"
    return None


def _pairs(metric: str, base: Evaluation, other: Evaluation) -> list[tuple[str, float]]:
    """Group and difference of every sample or clip that has a value in both."""
    one, two = base.metrics[metric], other.metrics[metric]
    facts, others = base.content["samples"], other.content["samples"]
    found = []
    for name in sorted(one["samples"].keys() & two["samples"].keys()):
        if one["samples"][name] is None or two["samples"][name] is None:
            continue
        if one["of"] == "samples" and facts.get(name) != others.get(name):
            continue
        group = facts[name]["prompt"] if one["of"] == "samples" else name
        found.append((group, two["samples"][name] - one["samples"][name]))
    return found


def _unpaired(
    one: Mapping[str, Any], two: Mapping[str, Any]
) -> tuple[float, float | None, float | None]:
    mean = two["mean"] - one["mean"]
    if one["low"] is None or two["low"] is None:
        return mean, None, None
    half = math.hypot(one["high"] - one["low"], two["high"] - two["low"]) / 2
    return mean, mean - half, mean + half


def _verdict(low: float | None, high: float | None, better: str | None) -> str:
    if low is None or high is None or low <= 0 <= high:
        return NOISE
    word = "higher" if low > 0 else "lower"
    if better is None:
        return word
    return "better" if word == better else "worse"
