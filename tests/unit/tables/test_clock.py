import math

import pytest

from opensora.tables.clock import seconds_of


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        *((2, 2.0), (2.5, 2.5), ("2.5", 2.5), ("0:02.5", 2.5), ("1:01:02.250", 3662.25)),
        *((None, None), ("", None), (math.nan, None)),
    ],
)
def test_a_time_is_seconds_or_a_clock(cell: object, seconds: float | None) -> None:
    assert seconds_of(cell) == seconds


@pytest.mark.parametrize("cell", ["soon", "1:x", "-1", "inf"])
def test_anything_else_is_no_time(cell: str) -> None:
    with pytest.raises(ValueError, match=r"could not convert|is no time"):
        seconds_of(cell)
