"""What was measured, each number with its interval, a line for every checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from opensora.core.svg import mark
from opensora.report import quantities
from opensora.report.collect import StageFolder
from opensora.report.pictures.curves import Figure
from opensora.report.pictures.inline import Theme, inline_svg
from opensora.report.samples.evaluation import measured_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

_WIDTH, _LINE, _NAMES, _SCALE = 1240, 26, 420, 380
_GAP = 30  # between names and scale, and between scale and numbers


def interval_figures(stages: Sequence[StageFolder]) -> Iterator[Figure]:
    """A figure for each metric that any of the stages has."""
    measured = {stage.name: stage.evaluation for stage in stages if stage.evaluation}
    metrics: dict[str, list[dict[str, Any]]] = {}
    for row in measured_rows(measured):
        metrics.setdefault(row["metric"], []).append(row)
    for metric, rows in metrics.items():
        title = metric.replace("_", " ")
        label = f"{title}: means and shares with their 95 % intervals"
        yield Figure(title, intervals(rows, list(measured), label=label))


def intervals(rows: Sequence[Mapping[str, Any]], points: Sequence[str], *, label: str) -> Markup:
    """Draw a line for every number of every checkpoint.

    Args:
        rows: of `measured_rows`, each on a scale of its own.
        points: names of the checkpoints, in the order of the rows' cells.
        label: what the chart shows, read by screen readers.
    """
    lines = [
        (" ".join(filter(None, (point, row["part"].replace("_", " ")))), row["scale"], cell)
        for row in rows
        for point, cell in zip(points, row["cells"], strict=True)
        if cell
    ]
    height = len(lines) * _LINE

    def paint(figure: Drawing) -> None:
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, _WIDTH), ylim=(height, 0))
        axes.set_axis_off()
        style: dict[str, Any] = {"va": "center_baseline", "fontsize": 12}
        for k, (name, (low, high), cell) in enumerate(lines):
            middle = (k + 0.5) * _LINE
            per_unit = _SCALE / ((high - low) or 1.0)
            at = {
                end: _NAMES + _GAP + per_unit * (cell[end] - low)
                for end in ("low", "value", "high", "floor")
                if cell.get(end) is not None
            }
            axes.text(0, middle, _short(name), color=Theme.INK, **style)
            ends = (_NAMES + _GAP, _NAMES + _GAP + _SCALE)
            axes.plot(ends, (middle, middle), color=Theme.LINE, linewidth=2)
            if "low" in at and "high" in at:
                span = (at["low"], at["high"])
                (line,) = axes.plot(span, (middle, middle), color=Theme.ACCENT, linewidth=3)
                mark(line, "interval", f"{name}: {_span(cell)}")
            if "floor" in at:
                ends_of_mark = (middle - 7, middle + 7)
                (line,) = axes.plot((at["floor"],) * 2, ends_of_mark, color=Theme.INK, linewidth=2)
                mark(line, "floor", f"{name}: {_floor(cell)}")
            dot: dict[str, Any] = {"color": Theme.ACCENT, "linewidth": 8, "solid_capstyle": "round"}
            axes.plot((at["value"],) * 2, (middle,) * 2, **dot)  # a line of no length
            axes.text(ends[1] + _GAP, middle, _numbers(cell), color=Theme.SOFT, **style)

    return inline_svg(paint, width=_WIDTH, height=height, label=label, style="flow")


def _short(name: str, limit: int = 60) -> str:
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def _span(cell: Mapping[str, Any]) -> str:
    return f"{quantities.number(cell['low'])} to {quantities.number(cell['high'])}"


def _numbers(cell: Mapping[str, Any]) -> str:
    value = quantities.number(cell["value"])
    words = [f"{value}, no interval" if cell["low"] is None else f"{value} ({_span(cell)})"]
    if "floor" in cell:
        words.append(_floor(cell))
    if "score" in cell:
        words.append(f"VBench's score {quantities.number(cell['score'])}")
    return ", ".join(words)


def _floor(cell: Mapping[str, Any]) -> str:
    return f"floor {quantities.number(cell['floor'])} (n {quantities.number(cell['floor_n'])})"
