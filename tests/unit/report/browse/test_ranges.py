"""Parts of files, by the examples of RFC 9110."""

import pytest

from opensora.report.browse.ranges import Unsatisfiable, part_of


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-499", (0, 500)),
        ("bytes=500-999", (500, 1000)),
        ("bytes=-500", (9500, 10000)),
        ("bytes=9500-", (9500, 10000)),
        ("bytes=9999-20000", (9999, 10000)),
        ("bytes=-20000", (0, 10000)),
        (None, None),
        ("bytes=0-0,-1", None),
        ("bytes=-", None),
        ("bytes=9-3", None),
        ("pages=1-2", None),
        (f"bytes={'9' * 5000}-", None),
    ],
)
def test_a_part(header: str | None, part: tuple[int, int] | None) -> None:
    assert part_of(header, 10_000) == part


@pytest.mark.parametrize("header", ["bytes=10000-", "bytes=-0", "bytes=10001-10005"])
def test_a_part_that_is_not_there(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        part_of(header, 10_000)


def test_of_an_empty_file_there_is_no_part() -> None:
    with pytest.raises(Unsatisfiable):
        part_of("bytes=0-", 0)
