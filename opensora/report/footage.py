"""The way of the footage through the stages, drawn as a flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from opensora.core.svg import mark
from opensora.report import quantities
from opensora.report.inline import Theme, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _TRUNK, _TOP = 1080, 150, 46
_LABELS = _TOP + _TRUNK + 62  # where the lists of reasons begin
_LINE = 17
_NODE = 7
_MAX_REASONS = 4  # lines below a stage; the rest is summed up in a fifth


@dataclass(frozen=True)
class Loss:
    """Rows and seconds of footage that one stage marked with one reason."""

    reason: str
    rows: int
    seconds: float


@dataclass(frozen=True)
class FunnelStage:
    """One stage of the curation.

    Attributes:
        name: stage, snake_case.
        rows_in: rows the stage was given.
        seconds_in: their footage.
        rows_kept: rows that go on.
        seconds_kept: their footage.
        losses: what was marked, largest first.
    """

    name: str
    rows_in: int
    seconds_in: float
    rows_kept: int
    seconds_kept: float
    losses: tuple[Loss, ...]


def flow(stages: Sequence[FunnelStage]) -> Markup:
    """Draw the footage as a band from left to right that loses its rejected part at each stage.

    The height of the band is proportional to seconds of footage, or to rows where no stage has
    footage (images only).
    """
    if not stages:
        return Markup("")
    has_seconds = any(stage.seconds_in > 0 for stage in stages)
    sizes = [
        (s.seconds_in, s.seconds_kept) if has_seconds else (s.rows_in, s.rows_kept) for s in stages
    ]
    largest = max(size for size, _ in sizes) or 1.0
    heights = [(_TRUNK * size / largest, _TRUNK * kept / largest) for size, kept in sizes]
    column = (_WIDTH - _NODE - 92) / len(stages)
    last = stages[-1]
    end = quantities.seconds(last.seconds_kept) if has_seconds else f"{last.rows_kept:,} rows"
    height = _LABELS + max(len(_reasons(stage)) for stage in stages) * 2 * _LINE + 4

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, _WIDTH), ylim=(height, 0))
        axes.set_axis_off()
        for k, (stage, (high, keep)) in enumerate(zip(stages, heights, strict=True)):
            x = k * column
            following = heights[k + 1][0] if k + 1 < len(stages) else keep
            _draw_kept(axes, x + _NODE, x + column, keep, following)
            _draw_lost(axes, x + _NODE, high, keep, column)
            amount = quantities.seconds(stage.seconds_in)
            amount = amount if has_seconds else f"{stage.rows_in:,} rows"
            _draw_node(axes, x, high, quantities.words(stage.name), amount)
            _draw_reasons(axes, x + _NODE + 12, stage, has_seconds)
        _draw_node(axes, len(stages) * column, heights[-1][1], "manifest", end)

    label = "Footage kept and lost at each stage"
    return inline_svg(paint, width=_WIDTH, height=height, label=label, style="flow")


def _draw_node(axes: Axes, x: float, high: float, name: str, amount: str) -> None:
    node = Rectangle((x, _TOP), _NODE, max(high, 1.5), facecolor=Theme.ACCENT)
    axes.add_patch(node)
    mark(node, "node")
    axes.text(x, 15, name, fontsize=13, fontweight="bold", color=Theme.INK)
    axes.text(x, 33, amount, fontsize=12, color=Theme.SOFT)


def _draw_kept(axes: Axes, left: float, right: float, start: float, end: float) -> None:
    """Band along the top whose height goes from `start` to `end`."""
    middle, start, end = (left + right) / 2, _TOP + start, _TOP + end
    corners = [(left, _TOP), (right, _TOP), (right, end)]
    curve = [(middle, end), (middle, start), (left, start)]
    _draw_band(axes, Theme.ACCENT_SOFT, ("line", corners), ("curve", curve))


def _draw_lost(axes: Axes, left: float, high: float, keep: float, column: float) -> None:
    """Band that leaves the node below the kept part and turns down."""
    if high <= keep:
        return
    thick = max(high - keep, 1.2)
    top, bottom, end = _TOP + keep, _TOP + keep + thick, _LABELS - 16
    inner = left + 14
    outer = inner + min(thick, column * 0.5)  # the turned band never runs into the next stage
    turn = [(outer, top), (outer, top), (outer, max(bottom, top + 20))]
    back = [(inner, bottom), (inner, bottom), (left, bottom)]
    _draw_band(
        axes,
        Theme.LOST_SOFT,
        ("line", [(left, top)]),
        ("curve", turn),
        ("line", [(outer, end), (inner, end), (inner, bottom + 10)]),
        ("curve", back),
    )


def _draw_band(axes: Axes, colour: Theme, *parts: tuple[str, list[tuple[float, float]]]) -> None:
    """Fill an outline of lines and cubic curves, which begins with a line."""
    codes = {"line": Path.LINETO, "curve": Path.CURVE4}
    steps = [(codes[kind], point) for kind, points in parts for point in points]
    outline = Path([point for _, point in steps], [Path.MOVETO, *(c for c, _ in steps[1:])])
    axes.add_patch(PathPatch(outline, facecolor=colour, linewidth=0))


def _reasons(stage: FunnelStage) -> list[Loss]:
    """The reasons to list: the largest ones, the others summed."""
    losses = list(stage.losses)
    if len(losses) <= _MAX_REASONS + 1:
        return losses
    rest = losses[_MAX_REASONS:]
    other = Loss(f"{len(rest)} more", sum(r.rows for r in rest), sum(r.seconds for r in rest))
    return [*losses[:_MAX_REASONS], other]


def _draw_reasons(axes: Axes, x: float, stage: FunnelStage, has_seconds: bool) -> None:
    for k, loss in enumerate(_reasons(stage)):
        y = _LABELS + 2 * k * _LINE
        rows = f"{loss.rows:,} row{'s' if loss.rows != 1 else ''}"
        amount = f"{quantities.seconds(loss.seconds)} · {rows}" if has_seconds else rows
        axes.text(x, y, quantities.words(loss.reason), fontsize=12, color=Theme.INK)
        axes.text(x, y + 14, amount, fontsize=11, color=Theme.FAINT)
