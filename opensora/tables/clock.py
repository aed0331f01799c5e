"""Times in tables: seconds, or a clock as Panda-70M writes it."""

import math
from typing import Any


def seconds_of(cell: Any) -> float | None:
    """Seconds of `12.5`, "12.5", "0:12.5" or "0:00:12.500"; None where the cell is empty.

    Raises:
        ValueError: it is none of these.
    """
    if cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell)):
        return None
    seconds = 0.0
    for part in str(cell).split(":"):
        seconds = seconds * 60 + float(part)
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{cell!r} is no time")
    return seconds
