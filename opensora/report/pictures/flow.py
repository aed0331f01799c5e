"""The way of the footage through the stages, drawn as a flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from opensora.core.svg import mark
from opensora.report import quantities
from opensora.report.footage.funnel import FunnelStage, Loss
from opensora.report.pictures.inline import Theme, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _TRUNK, _TOP = 1080, 150, 46
_LABELS = _TOP + _TRUNK + 62  # where the lists of reasons begin
_LINE = 17
_NODE = 7
_MAX_REASONS = 4  # lines below a stage; the rest is summed up in a fifth


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
    height = _LABELS + max(len(_reasons(stage)) for stage in stages) * 2 * _LINE + 4

    def amount(size: float) -> str:
        return quantities.seconds(size) if has_seconds else f"{size:,} row{'s' * (size != 1)}"

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, _WIDTH), ylim=(height, 0))
        axes.set_axis_off()
        for k, (stage, (high, keep)) in enumerate(zip(stages, heights, strict=True)):
            x = k * column
            end = heights[k + 1][0] if k + 1 < len(stages) else keep
            edge = [_TOP, _TOP, _TOP + end, _TOP + keep]
            axes.fill([x, x + column, x + column, x], edge, color=Theme.ACCENT_SOFT, linewidth=0)
            _draw_lost(axes, x + _NODE, high, keep, column)
            _draw_node(axes, x, high, quantities.words(stage.name), amount(sizes[k][0]))
            _draw_reasons(axes, x + _NODE + 12, stage, has_seconds)
        _draw_node(axes, len(stages) * column, heights[-1][1], "manifest", amount(sizes[-1][1]))

    label = "Footage kept and lost at each stage"
    return inline_svg(paint, width=_WIDTH, height=height, label=label, style="flow")


def _draw_node(axes: Axes, x: float, high: float, name: str, amount: str) -> None:
    node = Rectangle((x, _TOP), _NODE, max(high, 1.5), facecolor=Theme.ACCENT)
    axes.add_patch(node)
    mark(node, "node")
    axes.text(x, 15, name, fontsize=13, fontweight="bold", color=Theme.INK)
    axes.text(x, 33, amount, fontsize=12, color=Theme.SOFT)


def _draw_lost(axes: Axes, left: float, high: float, keep: float, column: float) -> None:
    """Band that leaves the node below the kept part and turns down."""
    if high <= keep:
        return
    thick = max(high - keep, 1.2)
    top, bottom, end = _TOP + keep, _TOP + keep + thick, _LABELS - 16
    inner = left + 14
    outer = inner + min(thick, column * 0.5)  # the turned band never runs into the next stage
    outline = [
        *((left, top), (outer, top), (outer, top), (outer, max(bottom, top + 20))),
        *((outer, end), (inner, end), (inner, bottom + 10)),
        *((inner, bottom), (inner, bottom), (left, bottom)),
    ]
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, *[Path.LINETO] * 3, *[Path.CURVE4] * 3]
    axes.add_patch(PathPatch(Path(outline, codes), facecolor=Theme.LOST_SOFT, linewidth=0))


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
