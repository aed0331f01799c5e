"""Parts of a file, as a player asks for them when it seeks (RFC 9110, section 14)."""

from __future__ import annotations

import re

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_DIGITS = 18  # more bytes no file has


class Unsatisfiable(Exception):
    """The part lies behind the end of the file."""


def part_of(header: str | None, size: int) -> tuple[int, int] | None:
    """The first byte and the byte behind the last of what is asked for.

    Args:
        header: the field `Range`; None without one.
        size: bytes of the file.

    Returns:
        None for the whole file: nothing, several parts, or something else than bytes was asked for.

    Raises:
        Unsatisfiable: there is no such part.
    """
    found = _RANGE.fullmatch((header or "").strip())
    if not found or max(map(len, found.groups())) > _DIGITS or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:  # the last so many bytes
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < start:
            return None
    if start >= size or stop <= start:
        raise Unsatisfiable
    return start, stop
