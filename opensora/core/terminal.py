"""How tables look on a terminal: aligned columns and short numbers."""

import io
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from opensora.core.text import visible

if TYPE_CHECKING:  # rich takes time to load, and most commands print no table
    from rich.table import Table

_WIDTH = 100_000  # characters of a line, more than any table has: nothing wraps
_EMPTY = "    \n"
_HEADER_RULE = 2 * _EMPTY + " -- \n" + 5 * _EMPTY  # rich's box: a line below the header alone
_PREFIXES = ((1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def align(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, left: Collection[str] = ()
) -> str:
    """Lay out a table: the first column to the left, the others to the right.

    Args:
        header: a title for each column.
        rows: cells, as many per row as there are titles.
        left: titles of further columns to the left.

    Returns:
        Lines, each with an end.
    """
    from rich.box import Box
    from rich.table import Table

    table = Table(
        box=Box(_HEADER_RULE, ascii=True), padding=(0, 1, 0, 0), show_edge=False, pad_edge=False
    )
    for position, title in enumerate(header):
        is_left = position == 0 or title in left
        table.add_column(title, justify="left" if is_left else "right", no_wrap=True)
    return _lines(table, rows)


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Lay out names and what they are, both to the left; lines, each with an end."""
    from rich.table import Table

    return _lines(Table.grid("", "", padding=(0, 2, 0, 0)), rows)


def _lines(table: "Table", rows: Iterable[Sequence[str]]) -> str:
    """Print a table as plain text: no colours, nothing cut, no spaces at the ends of lines."""
    from rich.console import Console

    for row in rows:
        table.add_row(*map(visible, row))
    file = io.StringIO()
    Console(
        file=file,
        width=_WIDTH,
        force_terminal=False,
        color_system=None,
        markup=False,
        emoji=False,
        highlight=False,
    ).print(table)
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def short(value: float, unit: str = "") -> str:
    """Write a number with three digits and a decimal prefix: 1.52 M, 12.3 GB, 640."""
    for size, prefix in _PREFIXES:
        if abs(value) >= 0.9995 * size:
            number, mark = value / size, prefix
            break
    else:
        number, mark = float(value), ""
    if float(number).is_integer() and abs(number) < 1000:
        text = f"{number:.0f}"
    else:
        text = f"{number:.{max(0, 2 - len(str(int(abs(number)))) + 1)}f}"
    return f"{text} {mark}{unit}".rstrip()


def percent(share: float) -> str:
    """Write a fraction of one with one decimal."""
    return f"{100 * share:.1f} %"
