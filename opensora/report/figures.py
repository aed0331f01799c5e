"""Line charts and histograms for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from opensora.core.svg import mark
from opensora.report import quantities
from opensora.report.inline import Theme, inline_svg

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
_STYLES = {
    "main": (Theme.ACCENT, 1.8, 1.0),
    "second": (Theme.SECOND, 1.8, 1.0),
    "third": (Theme.THIRD, 1.8, 1.0),
    "faint": (Theme.ACCENT, 1.0, 0.32),
}  # colour, width and opacity of a line


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: legend entry.
        x: steps, ascending.
        y: values of the same length; NaN and infinity leave gaps.
        style: `main`, `second`, `third`, or `faint` for raw values behind a smoothed line.
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
    starts = np.linspace(0, len(x), limit + 1).astype(int)
    is_known = np.isfinite(y)
    known = np.add.reduceat(is_known.astype(float), starts[:-1])
    sums = np.add.reduceat(np.where(is_known, y, 0.0), starts[:-1])
    means = np.divide(sums, known, out=np.full(limit, np.nan), where=known > 0)
    return np.add.reduceat(x, starts[:-1]) / np.diff(starts), means


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
        if np.isfinite(y).any():
            lines.append((one, *thin_out(x, np.where(np.isfinite(y), y, np.nan))))
    if not lines:
        return Markup("")

    def paint(figure: Figure) -> None:
        axes = _axes(figure, _BOTTOM + _STEP)
        axes.set_xlabel("step", loc="right", fontsize=_FONT_SIZE, color=Theme.FAINT, labelpad=1)
        low, high = min(x[0] for _, x, _ in lines), max(x[-1] for _, x, _ in lines)
        axes.set_xlim(low, high if high > low else low + 1)
        low, high = _scale(axes, np.concatenate([y for _, _, y in lines]), may_be_log)
        for one, x, y in lines:
            _draw_line(axes, one.style, x, np.clip(y, low, high))
        for one, x, y in lines:
            if one.style != "faint":
                _draw_end(axes, one, x, y, np.clip(y, low, high))

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
    place = (
        *(_LEFT / WIDTH, bottom / HEIGHT),
        *((WIDTH - _LEFT - _RIGHT) / WIDTH, (HEIGHT - _TOP - bottom) / HEIGHT),
    )
    axes = figure.add_axes(place, frameon=False)
    axes.tick_params(length=0, pad=7, labelsize=_FONT_SIZE, labelcolor=Theme.FAINT)
    axes.grid(axis="y", color=Theme.LINE, linewidth=1)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=_ROUND))
        axis.set_major_formatter(_tick)
    return axes


def _scale(axes: Axes, values: np.ndarray, may_be_log: bool) -> tuple[float, float]:
    """Choose the vertical axis; a single spike does not flatten the rest. Returns its ends."""
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(np.quantile(values, 0.995))
    if may_be_log and low > 0 and high / low > _LOG_RATIO:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3) if high < 1000 * low else (1,)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(_tick)
    else:
        if 0 <= low < 0.5 * high:
            low = 0.0
        if not high > low:
            half = max(abs(low), 1e-6) * 0.5
            low, high = low - half, low + half
        margin = 0.06 * (high - low)
        low, high = low if low == 0.0 else low - margin, high + margin
    axes.set_ylim(low, high)
    return low, high


def _draw_line(axes: Axes, style: str, x: np.ndarray, y: np.ndarray) -> None:
    colour, width, opacity = _STYLES[style]
    known = np.concatenate([[False], np.isfinite(y), [False]])
    is_alone = known[1:-1] & ~known[:-2] & ~known[2:]
    twice = np.where(is_alone, 2, 1)  # a point between gaps is a line of no length: a dot
    (line,) = axes.plot(
        np.repeat(x, twice),
        np.repeat(y, twice),
        color=colour,
        linewidth=width,
        alpha=opacity,
        solid_capstyle="round",
    )
    mark(line, f"line {style}")


def _draw_end(axes: Axes, one: Series, x: np.ndarray, y: np.ndarray, place: np.ndarray) -> None:
    """A dot on the last value, which says what it is; lines of no length have round ends."""
    last = np.flatnonzero(np.isfinite(y))[-1]
    for width, colour in ((9, Theme.SURFACE), (6, _STYLES[one.style][0])):
        (dot,) = axes.plot(
            [x[last]] * 2, [place[last]] * 2, color=colour, linewidth=width, solid_capstyle="round"
        )
        mark(dot, "dot", f"{one.name}: {quantities.number(float(y[last]))}")


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
