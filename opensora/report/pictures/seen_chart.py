"""How often footage is seen, as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from matplotlib.patches import Rectangle

from opensora.core.svg import mark
from opensora.report.pictures.inline import Theme, inline_svg
from opensora.report.seen import HELD_OUT, NEVER, SEEN, Seen, amount

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _LINE, _NAMES, _AMOUNTS = 1080, 26, 250, 250
_COLOURS = {SEEN: Theme.ACCENT, NEVER: Theme.LOST_SOFT, HELD_OUT: Theme.GHOST}


def seen_chart(lines: Sequence[Seen], *, label: str) -> Markup:
    """Draw a bar for each line; as long as its seconds, or its clips where none has seconds.

    Args:
        lines: of the ledger.
        label: what the chart shows, read by screen readers.
    """
    if not lines:
        return Markup("")
    has_seconds = any(line.seconds > 0 for line in lines)
    sizes = [line.seconds if has_seconds else float(line.clips) for line in lines]
    longest, height = max(sizes) or 1.0, len(lines) * _LINE

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, _WIDTH), ylim=(height, 0))
        axes.set_axis_off()
        for k, (line, size) in enumerate(zip(lines, sizes, strict=True)):
            middle = (k + 0.5) * _LINE
            long = max((_WIDTH - _NAMES - _AMOUNTS) * size / longest, 1.5)
            bar = Rectangle((_NAMES, k * _LINE + 4), long, _LINE - 8, facecolor=_COLOURS[line.kind])
            axes.add_patch(bar)
            mark(bar, f"bar {line.kind.replace(' ', '-')}", f"{line.label}: {amount(line)}")
            style: dict[str, Any] = {"va": "center_baseline", "color": Theme.INK, "fontsize": 12}
            axes.text(0, middle, line.label, **style)
            axes.text(_NAMES + long + 8, middle, amount(line), **{**style, "color": Theme.SOFT})

    return inline_svg(paint, width=_WIDTH, height=height, label=label, style="flow")
