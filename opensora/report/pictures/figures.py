"""Line charts and histograms for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from opensora.core.svg import mark
from opensora.report import quantities
from opensora.report.pictures.inline import Theme, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 360, 216  # close to the pixels a chart gets on a page, so text stays legible
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 10, 26
_STEP = 14  # more room at the bottom where the axis has a title
_FONT_SIZE = 11
_ROUND = (1, 2, 5, 10)  # ticks are these times a power of ten
_MAX_POINTS = 360  # one per user unit: more cannot be seen
_LOG_RATIO = 30.0  # above this ratio of largest to smallest a logarithmic axis shows more
_STYLES: dict[str, dict[str, Any]] = {
    "main": {"color": Theme.ACCENT, "linewidth": 1.8},
    "second": {"color": Theme.SECOND, "linewidth": 1.8},
    "third": {"color": Theme.THIRD, "linewidth": 1.8},
    "fourth": {"color": Theme.SOFT, "linewidth": 1.8},
    "faint": {"color": Theme.ACCENT, "linewidth": 1.0, "alpha": 0.32},
}
_CAPS: dict[str, Any] = {"solid_capstyle": "round"}


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: legend entry.
        x: steps, ascending.
        y: values of the same length; NaN and infinity leave gaps.
        style: `main`, `second` to `fourth`, or `faint` for raw values behind a smoothed line.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    style: str = "main"


def thin_out(
    x: np.ndarray, y: np.ndarray, limit: int = _MAX_POINTS
) -> tuple[np.ndarray, np.ndarray]:
    """Replace runs of neighbouring points by their mean until at most `limit` points remain.

    NaN does not count, unless there is nothing else in a run.
    """
    if len(x) <= limit:
        return x, y
    points = pd.DataFrame({"x": x, "y": y})
    runs = points.groupby(np.arange(len(x)) * limit // len(x)).mean()
    return runs["x"].to_numpy(), runs["y"].to_numpy()


def line_chart(series: Sequence[Series], *, label: str, may_be_log: bool = True) -> Markup:
    """Draw lines over steps; empty when no series has a finite point.

    Args:
        series: lines, drawn in order.
        label: what the chart shows, read by screen readers.
        may_be_log: use a logarithmic axis where values span more than a factor of 30.

    Returns:
        An `<svg>` element.
    """
    lines = []
    for one in series:
        x, y = np.asarray(one.x, dtype=float), np.asarray(one.y, dtype=float)
        is_known = np.isfinite(x) & np.isfinite(y)
        if is_known.any():
            lines.append((one, *thin_out(x, np.where(is_known, y, np.nan))))
    if not lines:
        return Markup("")

    top = np.nanquantile(np.concatenate([y for _, _, y in lines]), 0.995, method="higher")

    def paint(figure: Figure) -> None:
        axes = _axes(figure, _BOTTOM + _STEP)
        axes.set_xlabel("step", loc="right", fontsize=_FONT_SIZE, color=Theme.FAINT, labelpad=1)
        axes.margins(x=0, y=0.06)
        for one, x, y in lines:
            _draw_line(axes, one.style, x, np.minimum(y, top))  # a spike does not flatten the rest
        for one, x, y in lines:
            if one.style != "faint":
                last = np.flatnonzero(np.isfinite(y))[-1]
                _draw_end(axes, one, x[last], min(y[last], top), y[last])
        _scale(axes, min(np.nanmin(y) for _, _, y in lines), top, may_be_log)

    return inline_svg(paint, width=WIDTH, height=HEIGHT, label=label, style="chart")


def histogram(kept: ArrayLike, everything: ArrayLike = (), *, label: str, bins: int = 28) -> Markup:
    """Draw how many clips have which score: all scored clips behind, the kept ones in front.

    Args:
        kept: scores of the clips in the manifest.
        everything: scores of all clips that were scored; may be empty.
        label: what the chart shows, read by screen readers.
        bins: number of bars.

    Returns:
        An `<svg>` element, empty when there is no finite score.
    """
    front, back = _finite(kept), _finite(everything)
    values = np.concatenate([front, back])
    if values.size == 0:
        return Markup("")
    low, high = (float(v) for v in np.quantile(values, [0.0, 0.995]))
    if not high > low:
        low, high = low - 0.5, low + 0.5
    edges = np.linspace(low, high, bins + 1)

    def paint(figure: Figure) -> None:
        axes = _axes(figure, _BOTTOM)
        for scores, style, colour in ((back, "all", Theme.GHOST), (front, "kept", Theme.ACCENT)):
            counts = np.histogram(np.clip(scores, low, high), edges)[0]
            width = 0.87 * (edges[1] - edges[0])
            bars = axes.bar((edges[:-1] + edges[1:]) / 2, counts, width, color=colour)
            for k, (count, bar) in enumerate(zip(counts, bars, strict=True)):
                span = f"{quantities.number(edges[k])} to {quantities.number(edges[k + 1])}"
                mark(bar, f"bar {style}", f"{span}: {count} {style}")
                bar.set_visible(bool(count))
        axes.set_xlim(low, high)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=_ROUND, integer=True))

    return inline_svg(paint, width=WIDTH, height=HEIGHT, label=label, style="chart")


def _axes(figure: Figure, bottom: int) -> Axes:
    """Axes without a frame, with grid lines across and round ticks."""
    across, up = (WIDTH - _LEFT - _RIGHT) / WIDTH, (HEIGHT - _TOP - bottom) / HEIGHT
    axes = figure.add_axes((_LEFT / WIDTH, bottom / HEIGHT, across, up), frameon=False)
    axes.tick_params(length=0, pad=7, labelsize=_FONT_SIZE, labelcolor=Theme.FAINT)
    axes.grid(axis="y", color=Theme.LINE, linewidth=1)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=_ROUND))
        axis.set_major_formatter(_tick)
    return axes


def _scale(axes: Axes, low: float, high: float, may_be_log: bool) -> None:
    """Choose the vertical scale of axes on which everything is drawn."""
    if may_be_log and low > 0 and high / low > _LOG_RATIO:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3) if high < 1000 * low else (1,)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(_tick)
    elif 0 <= low < 0.5 * high:
        axes.set_ylim(bottom=0)


def _draw_line(axes: Axes, style: str, x: np.ndarray, y: np.ndarray) -> None:
    known = np.concatenate([[False], np.isfinite(y), [False]])
    is_alone = known[1:-1] & ~known[:-2] & ~known[2:]
    times = 1 + is_alone  # a point between gaps is a line of no length: a dot
    (line,) = axes.plot(np.repeat(x, times), np.repeat(y, times), **_STYLES[style], **_CAPS)
    mark(line, f"line {style}")


def _draw_end(axes: Axes, one: Series, x: float, y: float, value: float) -> None:
    """A dot at the end of a line, a line of no length itself, that says the last value."""
    colour = _STYLES[one.style]["color"]
    halo = withStroke(linewidth=9, foreground=Theme.SURFACE, capstyle="round")
    (dot,) = axes.plot([x, x], [y, y], color=colour, linewidth=6, path_effects=[halo], **_CAPS)
    mark(dot, "dot", f"{one.name}: {quantities.number(float(value))}")


def _tick(value: float, position: float = 0) -> str:
    """Short form of a tick, which has few digits by construction."""
    value = round(value, 12)
    if abs(value) >= 1e6:
        return f"{value / 1e6:g} M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:g} k"
    return f"{value:g}" if value == 0 or abs(value) >= 1e-3 else quantities.number(value, 1)


def _finite(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    return array[np.isfinite(array)]
