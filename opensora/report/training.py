"""The curves of all stages of training, thinned to what a screen can show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from opensora.report.collect import MILESTONE, RunFolder
from opensora.report.media import Media
from opensora.report.sections import ended_by_hand, lost_lines

MAX_POINTS = 1500  # of a curve: a chart is no wider
_DIGITS = 5  # that a point keeps
_LOSSES = ("loss", "loss_ema", "grad_norm", "lr")
_PACE = ("samples_per_s", "tokens_per_s", "mfu", "data_wait_s", "memory_gb")
_GROUPS = ("loss_by_band", "loss_by_bucket")
_HELD_OUT = "held_out_loss"
_ABOUT = frozenset({"step", "epoch", "seconds", "bucket", "tokens", "samples", "ended_by_hand"})


def training(run: RunFolder, media: Media) -> dict[str, Any] | None:
    """Everything the training section shows; None where nothing is trained.

    The curve of a milestone is the beginning of that of its stage.

    Args:
        run: its stages in order.
        media: not needed, curves have no files.

    Returns:
        `stages`: each name, lines (of the log), every (lines that a point is the mean
        of), notes (sentences), steps, seconds (at the end), milestones (steps), curves (name ->
        values, None where nothing was logged), groups (loss_by_band, loss_by_bucket: part ->
        values), held_out (steps, curves and groups of its own, or None).
    """
    trained = {stage.name for stage in run.stages if len(stage.metrics)}
    shown = []
    for stage in run.stages:
        begins, mark, _ = stage.name.partition(MILESTONE)
        if stage.name in trained and not (mark and begins in trained):
            milestones = [
                int(step)
                for other in run.stages
                for name, _, step in [other.name.partition(MILESTONE)]
                if name == stage.name and step.isdigit() and len(other.samples)
            ]
            shown.append({**_curves(stage.name, stage.metrics), "milestones": milestones})
    return {"stages": shown} if shown else None


def _curves(name: str, metrics: pd.DataFrame) -> dict[str, Any]:
    if "step" not in metrics:
        metrics = metrics.assign(step=range(1, len(metrics) + 1))
    metrics = metrics[metrics["step"].notna()].reset_index(drop=True)
    numbers = metrics.select_dtypes("number")
    others = [str(c) for c in numbers if c not in (*_LOSSES, *_PACE, *_ABOUT, _HELD_OUT)]
    columns = [c for c in (*_LOSSES, *_PACE, *others) if c in metrics]
    every = -(-len(metrics) // MAX_POINTS) or 1
    bins = pd.Series(np.arange(len(metrics)) // every)
    # the first of them would lie before a point of held-out loss that belongs to it
    steps = metrics["step"].groupby(bins).last()
    table = {column: _thin(metrics[column], bins) for column in columns}
    notes = [_not_finite(column, metrics[column]) for column in columns]
    ended = ended_by_hand(metrics) if len(metrics) else ""
    return {
        "name": name,
        "lines": len(metrics),
        "every": every,
        "notes": [note for note in (*notes, ended, lost_lines(metrics)) if note],
        "steps": [int(step) for step in steps],
        "seconds": _last(metrics, "seconds"),
        "curves": {column: values for column, values in table.items() if _has_any(values)},
        "groups": {group: _group(metrics, group, bins) for group in _GROUPS if group in metrics},
        "held_out": _held_out(metrics),
    }


def _held_out(metrics: pd.DataFrame) -> dict[str, Any] | None:
    """What was measured on clips that are not trained on; each of these points is shown."""
    if _HELD_OUT not in metrics or not metrics[_HELD_OUT].notna().any():
        return None
    known = metrics[metrics[_HELD_OUT].notna()].reset_index(drop=True)
    each = pd.Series(range(len(known)))
    groups = {
        group.removeprefix("held_out_"): _group(known, group, each)
        for group in (f"held_out_{name}" for name in _GROUPS)
        if group in known
    }
    return {
        "steps": [int(step) for step in known["step"]],
        "curves": {_HELD_OUT: _thin(known[_HELD_OUT], each)},
        "groups": groups,
    }


def _group(metrics: pd.DataFrame, column: str, bins: pd.Series) -> dict[str, list[float | None]]:
    """The parts of a column that holds several numbers by name, in the order of their names."""
    rows = [value if isinstance(value, Mapping) else {} for value in metrics[column]]
    table = pd.DataFrame(rows, index=metrics.index)
    parts = {str(part): _thin(table[part], bins) for part in sorted(table.columns, key=str)}
    return {part: values for part, values in parts.items() if _has_any(values)}


def _thin(values: pd.Series, bins: pd.Series) -> list[float | None]:
    """Means of the numbers of each bin; None where it holds none."""
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    numbers = numbers.where(np.isfinite(numbers))
    return [_short(value) for value in numbers.groupby(bins).mean()]


def _short(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _not_finite(column: str, values: pd.Series) -> str:
    """Say where something was logged that no curve can show.

    A column that a line lacks reads as NaN too; only the loss stands in every line.
    """
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    odd = ~np.isfinite(numbers) & (values.notna() | (column == "loss"))
    return f"{column} is no finite number in {int(odd.sum()):,} lines" if odd.any() else ""


def _has_any(values: Sequence[float | None]) -> bool:
    return any(value is not None for value in values)


def _last(metrics: pd.DataFrame, column: str) -> float | None:
    known = metrics[column].dropna() if column in metrics else pd.Series(dtype=float)
    return float(known.iloc[-1]) if len(known) else None
