"""The way of the footage through the stages, as a flow drawn in inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from opensora.report import quantities

_WIDTH, _TRUNK, _TOP = 1080.0, 150.0, 46.0
_LABELS = _TOP + _TRUNK + 62.0  # where the lists of reasons begin
_LINE = 17.0
_NODE = 7.0
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
    column = (_WIDTH - _NODE - 92) / len(stages)
    parts, depth = [], 0
    for k, (stage, (size, kept)) in enumerate(zip(stages, sizes, strict=True)):
        x = k * column
        high, keep = _TRUNK * size / largest, _TRUNK * kept / largest
        following = _TRUNK * sizes[k + 1][0] / largest if k + 1 < len(stages) else keep
        parts.append(_kept_band(x + _NODE, x + column, keep, following))
        parts.append(_lost_band(x + _NODE, high, keep, column))
        parts.append(_node(x, high, quantities.words(stage.name), _amount(stage, has_seconds)))
        depth = max(depth, len(_reasons(stage)))
        parts.append(_reason_lines(x + _NODE + 12, stage, has_seconds))
    last = stages[-1]
    end = quantities.seconds(last.seconds_kept) if has_seconds else f"{last.rows_kept:,} rows"
    parts.append(
        _node(len(stages) * column, _TRUNK * sizes[-1][1] / largest, "manifest", end, "end")
    )
    height = _LABELS + depth * 2 * _LINE + 4
    return Markup(
        f'<svg class="flow" viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" aria-label="'
        f'Footage kept and lost at each stage">{"".join(parts)}</svg>'
    )


def _amount(stage: FunnelStage, has_seconds: bool) -> str:
    return quantities.seconds(stage.seconds_in) if has_seconds else f"{stage.rows_in:,} rows"


def _node(x: float, high: float, name: str, amount: str, style: str = "") -> str:
    return (
        f'<rect class="node {style}" x="{x:.1f}" y="{_TOP:.1f}" width="{_NODE}"'
        f' height="{max(high, 1.5):.1f}" rx="2"/>'
        f'<text class="stage" x="{x:.1f}" y="15">{escape(name)}</text>'
        f'<text class="amount" x="{x:.1f}" y="33">{escape(amount)}</text>'
    )


def _kept_band(left: float, right: float, start: float, end: float) -> str:
    """Band along the top whose height goes from `start` to `end`."""
    middle = (left + right) / 2
    return (
        f'<path class="kept" d="M{left:.1f},{_TOP} H{right:.1f} V{_TOP + end:.1f}'
        f" C{middle:.1f},{_TOP + end:.1f} {middle:.1f},{_TOP + start:.1f}"
        f' {left:.1f},{_TOP + start:.1f} Z"/>'
    )


def _lost_band(left: float, high: float, keep: float, column: float) -> str:
    """Band that leaves the node below the kept part and turns down."""
    thick = high - keep
    if thick <= 0:
        return ""
    thick = max(thick, 1.2)
    top, bottom, end = _TOP + keep, _TOP + keep + thick, _LABELS - 16
    shown = min(thick, column * 0.5)  # the turned band never runs into the next stage
    inner = left + 14
    outer = inner + shown
    return (
        f'<path class="lost" d="M{left:.1f},{top:.1f} C{outer:.1f},{top:.1f} {outer:.1f},{top:.1f}'
        f" {outer:.1f},{max(bottom, top + 20):.1f} V{end:.1f} H{inner:.1f}"
        f' V{bottom + 10:.1f} Q{inner:.1f},{bottom:.1f} {left:.1f},{bottom:.1f} Z"/>'
    )


def _reasons(stage: FunnelStage) -> list[Loss]:
    """The reasons to list: the largest ones, the others summed."""
    losses = list(stage.losses)
    if len(losses) <= _MAX_REASONS + 1:
        return losses
    rest = losses[_MAX_REASONS:]
    other = Loss(f"{len(rest)} more", sum(r.rows for r in rest), sum(r.seconds for r in rest))
    return [*losses[:_MAX_REASONS], other]


def _reason_lines(x: float, stage: FunnelStage, has_seconds: bool) -> str:
    parts = []
    for k, loss in enumerate(_reasons(stage)):
        y = _LABELS + 2 * k * _LINE
        rows = f"{loss.rows:,} row{'s' if loss.rows != 1 else ''}"
        amount = f"{quantities.seconds(loss.seconds)} · {rows}" if has_seconds else rows
        parts.append(
            f'<text class="reason" x="{x:.1f}" y="{y:.1f}">'
            f"{escape(quantities.words(loss.reason))}</text>"
            f'<text class="lost-amount" x="{x:.1f}" y="{y + 14:.1f}">{escape(amount)}</text>'
        )
    return "".join(parts)
