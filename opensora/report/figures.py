"""Line charts and histograms as inline SVG that follows the page's colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import ArrayLike

from opensora.report import quantities

WIDTH, HEIGHT = (
    360,
    210,
)  # user units; close to the pixels a chart gets on a page, so text stays legible
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 26
_MAX_POINTS = 360  # one per user unit: more cannot be seen
_LOG_RATIO = 30.0  # above this ratio of largest to smallest a logarithmic axis shows more


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: legend entry.
        x: steps, ascending.
        y: values of the same length; NaN and infinity leave gaps.
        style: CSS class of the line: `main`, `second`, `third`, or `faint` for raw values behind
            a smoothed line.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    style: str = "main"


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round tick positions (1, 2 or 5 times a power of ten) inside [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def thin_out(
    x: np.ndarray, y: np.ndarray, limit: int = _MAX_POINTS
) -> tuple[np.ndarray, np.ndarray]:
    """Replace runs of neighbouring points by their mean until at most `limit` points remain."""
    if len(x) <= limit:
        return x, y
    edges = np.linspace(0, len(x), limit + 1).astype(int)
    sizes = np.diff(edges)
    return np.add.reduceat(x, edges[:-1]) / sizes, np.add.reduceat(y, edges[:-1]) / sizes


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
        finite = np.isfinite(x) & np.isfinite(y)
        if finite.any():
            lines.append((one, *thin_out(x[finite], y[finite])))
    if not lines:
        return Markup("")

    all_y = np.concatenate([y for _, _, y in lines])
    x_low = float(min(x[0] for _, x, _ in lines))
    x_high = float(max(x[-1] for _, x, _ in lines))
    axis = _Axis.over(all_y, may_be_log=may_be_log)
    x_span = (x_high - x_low) or 1.0

    def place_x(values: np.ndarray) -> np.ndarray:
        return _LEFT + (values - x_low) / x_span * (WIDTH - _LEFT - _RIGHT)

    ticks = nice_ticks(x_low, x_high)
    parts = [
        axis.grid(),
        _x_axis(list(zip(place_x(np.array(ticks)), ticks, strict=True)), "step"),
    ]
    for one, x, y in lines:
        points = " ".join(
            f"{px:.1f},{py:.1f}" for px, py in zip(place_x(x), axis.place(y), strict=True)
        )
        parts.append(f'<polyline class="line {escape(one.style)}" points="{points}"/>')
    for one, x, y in lines:
        if one.style != "faint":
            parts.append(
                f'<circle class="dot {escape(one.style)}" cx="{place_x(x[-1:])[0]:.1f}"'
                f' cy="{axis.place(y[-1:])[0]:.1f}" r="3">'
                f"<title>{escape(one.name)}: {quantities.number(float(y[-1]))}</title></circle>"
            )
    return _svg(parts, label)


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
    front = _finite(kept)
    back = _finite(everything)
    values = np.concatenate([front, back])
    if values.size == 0:
        return Markup("")
    low, high = (float(v) for v in np.quantile(values, [0.0, 0.995]))
    if not high > low:
        low, high = low - 0.5, low + 0.5
    edges = np.linspace(low, high, bins + 1)
    front_counts = np.histogram(np.clip(front, low, high), edges)[0]
    back_counts = np.histogram(np.clip(back, low, high), edges)[0]
    top = float(max(front_counts.max(), back_counts.max()))
    ticks = [t for t in nice_ticks(0, top, 3) if float(t).is_integer()]
    axis = _Axis(0.0, top * 1.04, ticks, is_log=False)

    width = (WIDTH - _LEFT - _RIGHT) / bins
    parts = [axis.grid()]
    for counts, style in ((back_counts, "all"), (front_counts, "kept")):
        for k, count in enumerate(counts):
            if count == 0:
                continue
            y = float(axis.place(np.array([count]))[0])
            span = f"{quantities.number(edges[k])} to {quantities.number(edges[k + 1])}"
            parts.append(
                f'<rect class="bar {style}" x="{_LEFT + k * width + 0.75:.1f}" y="{y:.1f}"'
                f' width="{width - 1.5:.1f}" height="{HEIGHT - _BOTTOM - y:.1f}" rx="1.5">'
                f"<title>{span}: {count} {style}</title></rect>"
            )
    scale = (WIDTH - _LEFT - _RIGHT) / (high - low)
    parts.append(_x_axis([(_LEFT + (t - low) * scale, t) for t in nice_ticks(low, high)], ""))
    return _svg(parts, label)


@dataclass(frozen=True)
class _Axis:
    """The vertical axis: range, ticks, and whether it is logarithmic."""

    low: float
    high: float
    ticks: list[float]
    is_log: bool

    @classmethod
    def over(cls, values: np.ndarray, *, may_be_log: bool) -> _Axis:
        """Choose an axis for these values; a single spike does not flatten the rest."""
        low, high = float(values.min()), float(np.quantile(values, 0.995))
        if may_be_log and low > 0 and high / low > _LOG_RATIO:
            first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
            return cls(low, high, [10.0**k for k in range(first, last + 1)], is_log=True)
        if 0 <= low < 0.5 * high:
            low = 0.0
        if not high > low:
            low, high = low - max(abs(low), 1e-6) * 0.5, low + max(abs(low), 1e-6) * 0.5
        margin = 0.06 * (high - low)
        low = low if low == 0.0 else low - margin
        return cls(low, high + margin, nice_ticks(low, high + margin), is_log=False)

    def place(self, values: np.ndarray) -> np.ndarray:
        """Values to vertical positions, those outside the range at its ends."""
        inside = np.clip(values, self.low, self.high)
        low, high = self.low, self.high
        if self.is_log:
            inside, low, high = np.log10(inside), math.log10(low), math.log10(high)
        return HEIGHT - _BOTTOM - (inside - low) / ((high - low) or 1.0) * (HEIGHT - _TOP - _BOTTOM)

    def grid(self) -> str:
        """Horizontal lines with their values."""
        shown = [t for t in self.ticks if self.low <= t <= self.high] or [self.low, self.high]
        parts = []
        for tick, y in zip(shown, self.place(np.array(shown)), strict=True):
            parts.append(
                f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text class="tick" x="{_LEFT - 7}" y="{y + 3.5:.1f}" text-anchor="end">'
                f"{_tick(tick)}</text>"
            )
        return "".join(parts)


def _x_axis(ticks: list[tuple[float, float]], label: str) -> str:
    parts = [
        f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 9}" text-anchor="middle">'
        f"{_tick(value)}</text>"
        for x, value in ticks
        if not (label and x > WIDTH - _RIGHT - 28)
    ]
    if label:
        parts.append(
            f'<text class="tick unit" x="{WIDTH - _RIGHT}" y="{HEIGHT - 9}" text-anchor="end">'
            f"{escape(label)}</text>"
        )
    return "".join(parts)


def _tick(value: float) -> str:
    """Short form of a tick, which has few digits by construction."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g} M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:g} k"
    return f"{value:g}" if value == 0 or abs(value) >= 1e-3 else quantities.number(value, 1)


def _finite(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    return array[np.isfinite(array)]


def _svg(parts: list[str], label: str) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
