"""The ledger of a stage of training: how often footage is seen, or why it never is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opensora.report import quantities

_MAX_BINS = 8
SEEN, NEVER, HELD_OUT = "seen", "never", "held out"


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
