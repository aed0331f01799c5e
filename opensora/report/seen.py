"""The ledger of a stage of training: how often footage is seen, or why it never is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from matplotlib.patches import Rectangle

from opensora.core.svg import mark
from opensora.report import quantities
from opensora.report.inline import Theme, inline_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _LINE, _NAMES, _AMOUNTS = 1080, 26, 250, 250
_MAX_BINS = 8
SEEN, NEVER, HELD_OUT = "seen", "never", "held out"
_COLOURS = {SEEN: Theme.ACCENT, NEVER: Theme.LOST_SOFT, HELD_OUT: Theme.GHOST}


@dataclass(frozen=True)
class Seen:
    """One line of the ledger.

    Attributes:
        kind: seen, never or held out.
        label: how often, or why not.
        clips: number of clips.
        seconds: their footage.
    """

    kind: str
    label: str
    clips: int
    seconds: float


def seen_lines(ledger: dict[str, Any]) -> list[Seen]:
    """The lines of a `ledger.json`; together they are every clip of the manifest.

    Where clips are seen in many different numbers of times, these are put together.
    """
    lines = []
    times = sorted(ledger["seen"], key=lambda line: line["times"])
    width = -(-ledger["max_times"] // _MAX_BINS) or 1
    for first in range(1, ledger["max_times"] + 1, width):
        last = min(first + width - 1, ledger["max_times"])
        part = [line for line in times if first <= line["times"] <= last]
        if part:
            lines.append(_sum(SEEN, _times(part[0]["times"], part[-1]["times"]), part))
    never = [
        Seen(NEVER, _because(kind, reason), line["clips"], line["seconds"])
        for kind, reasons in ledger["never"].items()
        for reason, line in reasons.items()
    ]
    lines += sorted(never, key=lambda line: (-line.seconds, -line.clips, line.label))
    lines += [
        _sum(HELD_OUT, name, [part]) for name, part in ledger["splits"].items() if name != "train"
    ]
    return lines


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


def amount(line: Seen) -> str:
    """Seconds and clips of a line."""
    clips = f"{line.clips:,} clip{'s' if line.clips != 1 else ''}"
    return f"{quantities.seconds(line.seconds)} · {clips}" if line.seconds else clips


def _times(first: int, last: int) -> str:
    if first == last:
        return "seen once" if first == 1 else f"seen {first:,} times"
    return f"seen {first:,} to {last:,} times"


def _because(kind: str, reason: str) -> str:
    """Why footage is never seen; a reason of its own does not say that encoding found it."""
    name = quantities.words(reason)
    return f"never: {'rejected, ' if kind == 'rejected' else ''}{name}"


def _sum(kind: str, label: str, parts: Sequence[dict[str, Any]]) -> Seen:
    clips = sum(int(part["clips"]) for part in parts)
    return Seen(kind, label, clips, sum(float(part["seconds"]) for part in parts))
