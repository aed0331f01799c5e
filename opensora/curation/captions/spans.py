"""A text for a part of a source."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opensora.tables.clock import seconds_of


@dataclass(frozen=True)
class Span:
    """A text for [start, end) seconds of a source."""

    start: float
    end: float
    text: str


def seconds_in(row: Mapping[Any, Any]) -> tuple[float, float]:
    """The seconds `start` and `end` of a row; a missing start is 0, a missing end is the file's.

    Raises:
        ValueError: one is neither seconds nor h:mm:ss.sss.
    """
    times: list[float | None] = []
    for name in ("start", "end"):
        value = row.get(name)
        try:
            times.append(seconds_of(value))
        except ValueError as error:
            raise ValueError(
                f"start and end are seconds, or h:mm:ss.sss; {value!r} is neither"
            ) from error
    start, end = times
    return 0.0 if start is None else start, math.inf if end is None else end
