"""Charts of what is watched of a training: losses by noise and size, held out, pace, memory."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from opensora.report import quantities
from opensora.report.pictures.curves import Figure
from opensora.report.pictures.figures import Series, line_chart

_STYLES = ("main", "second", "third", "fourth")
_SMOOTHING = 30  # lines of the running mean: a line holds few clips of a noise band
_HELD_OUT = "held_out_loss"
# column, title
_PACE = (
    ("tokens_per_s", "Tokens a second"),
    ("mfu", "Model FLOPs utilisation"),
    ("data_wait_s", "Seconds waited for data, a line"),
    ("memory_gb", "Peak memory, GB"),
)


def watched_curves(metrics: pd.DataFrame) -> list[Figure]:
    """Draw what the lines of one training stage hold besides loss, gradient and learning rate."""
    figures = []
    for column, title in (
        ("loss_by_band", "Loss by noise, running mean"),
        ("loss_by_bucket", "Loss by size, running mean"),
    ):
        figures += _parts(metrics, column, title, smooth=True)
    if _HELD_OUT in metrics:
        known = metrics[metrics[_HELD_OUT].notna()]
        svg = line_chart(
            [Series("held out", known["step"], known[_HELD_OUT])], label="held-out loss over steps"
        )
        note = f"{quantities.number(float(known[_HELD_OUT].iloc[-1]))} at the end"
        figures.append(Figure("Held-out loss", svg, note=note))
        figures += _parts(known, f"{_HELD_OUT}_by_band", "Held-out loss by noise", smooth=False)
        figures += _parts(known, f"{_HELD_OUT}_by_bucket", "Held-out loss by size", smooth=False)
    for column, title in _PACE:
        if column not in metrics or not metrics[column].notna().any():
            continue
        values = metrics[column].astype(float)
        series = [Series(title, metrics["step"], values, "second")]
        svg = line_chart(series, label=f"{title} over steps", may_be_log=False)
        note = f"median {quantities.number(float(values.median()))}"
        figures.append(Figure(title, svg, note=note))
    return [figure for figure in figures if figure.svg]


def _parts(metrics: pd.DataFrame, column: str, title: str, *, smooth: bool) -> list[Figure]:
    """One chart of what a column holds by name; those with the most values where there are many."""
    if column not in metrics:
        return []
    rows = [value if isinstance(value, Mapping) else {} for value in metrics[column]]
    table = pd.DataFrame(rows, index=metrics.index, dtype=float)
    table = table.dropna(axis="columns", how="all")
    counts = table.notna().sum()
    names = sorted(table.columns, key=lambda name: -counts[name])[: len(_STYLES)]
    names = [name for name in table.columns if name in names]  # in their own order
    if len(names) < 2:  # the only one is the whole, which has a chart
        return []
    series = []
    for name, style in zip(names, _STYLES, strict=False):
        known = table[name].dropna()
        values = known.ewm(span=_SMOOTHING).mean() if smooth else known
        series.append(Series(str(name), metrics.loc[known.index, "step"], values, style))
    rest = len(table.columns) - len(names)
    return [
        Figure(
            title,
            line_chart(series, label=f"{title} over steps"),
            tuple((one.style, one.name) for one in series),
            f"and {rest} more" if rest else "",
        )
    ]
