"""Curves of training and histograms of scores, each with its title."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from opensora.report import quantities
from opensora.report.collect import RunFolder
from opensora.report.pictures.figures import Series, histogram, line_chart
from opensora.tables.columns import FACTS, ID, MANIFEST, NUM_CAPTIONS

_SMOOTHING = 30  # steps of the running mean where a log has no loss_ema
_NOT_CURVES = {"step", "epoch", "seconds", "loss_ema", "bucket", "tokens", "samples"}


@dataclass(frozen=True)
class Figure:
    """One chart with its title, legend entries (style, name) and a remark."""

    title: str
    svg: Markup
    legend: tuple[tuple[str, str], ...] = ()
    note: str = ""


def training_curves(metrics: pd.DataFrame) -> list[Figure]:
    """Draw loss, gradient norm and learning rate of one training stage."""
    if "step" not in metrics:
        return []
    steps = metrics["step"].astype(float)
    figures = []
    if "loss" in metrics:
        loss = metrics["loss"].astype(float)
        smooth = metrics["loss_ema"] if "loss_ema" in metrics else loss.ewm(span=_SMOOTHING).mean()
        series = [
            Series("each step", steps, loss, "faint"),
            Series("running mean", steps, smooth.astype(float)),
        ]
        last = quantities.number(float(smooth.iloc[-1]))
        legend = (("faint", "each step"), ("main", "running mean"))
        svg = line_chart(series, label="loss over steps")
        figures.append(Figure("Loss", svg, legend, f"{last} at the end"))
    for column, title, style in (
        ("grad_norm", "Gradient norm", "second"),
        ("lr", "Learning rate", "third"),
    ):
        if column in metrics and metrics[column].notna().any():
            values = metrics[column].astype(float)
            series = [Series(title, steps, values, style)]
            is_log = column != "lr"  # a warm-up from zero is no reason to bend the schedule
            svg = line_chart(series, label=f"{title} over steps", may_be_log=is_log)
            note = f"at most {quantities.number(float(values.max()))}"
            figures.append(Figure(title, svg, note=note))
    return [figure for figure in figures if figure.svg]


def small_model_curves(metrics: pd.DataFrame) -> list[Figure]:
    """Draw every number that the training of a small model logged, one chart each."""
    if "step" not in metrics:
        return []
    figures = []
    # the loss first, the others in the order they were logged
    for column in sorted(metrics.select_dtypes("number"), key=lambda name: name != "loss"):
        if column in _NOT_CURVES or metrics[column].notna().sum() < 2:
            continue
        known = metrics[metrics[column].notna()]
        title = quantities.words(str(column))
        series = [Series(str(column), known["step"], known[column])]
        svg = line_chart(series, label=f"{title} over steps")
        note = f"{quantities.number(float(known[column].iloc[-1]))} at the end"
        figures.append(Figure(title, svg, note=note))
    return [figure for figure in figures if figure.svg]


def score_histograms(run: RunFolder) -> list[Figure]:
    """Draw each score over all scored clips and over those in the manifest."""
    frame = run.manifest
    known = {*MANIFEST.columns, *FACTS, NUM_CAPTIONS}
    figures = []
    kept_ids = set(frame[ID])
    if len(frame):
        lengths = (frame["end"] - frame["start"]).dropna()
        if len(lengths):
            figures.append(_histogram("clip length (s)", lengths, pd.Series(dtype=float)))
    columns = [name for name in frame.select_dtypes("number") if name not in known]
    for name in dict.fromkeys([*run.scores, *columns]):
        scored = run.scores.get(str(name), pd.Series(dtype=float))
        kept = frame[name] if name in frame else scored[scored.index.isin(kept_ids)]
        figures.append(_histogram(quantities.words(str(name)), kept, scored))
    return [figure for figure in figures if figure.svg]


def _histogram(title: str, kept: pd.Series, scored: pd.Series) -> Figure:
    svg = histogram(kept.to_numpy(float), scored.to_numpy(float), label=f"histogram of {title}")
    legend = (("kept", "kept"), ("all", "rejected")) if len(scored) else ()
    note = (
        f"median {quantities.number(float(kept.median()))}" if kept.notna().any() else "none kept"
    )
    return Figure(title, svg, legend, note)
