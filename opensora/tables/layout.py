"""How tables look on a terminal: aligned columns and short numbers."""

from collections.abc import Sequence

_PREFIXES = ((1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def align(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table: the first column to the left, the others to the right.

    Args:
        header: a title for each column.
        rows: cells, as many per row as there are titles.

    Returns:
        Lines, each with an end.
    """
    table = [list(header), *map(list, rows)]
    widths = [max(len(row[index]) for row in table) for index in range(len(header))]
    table.insert(1, ["-" * width for width in widths])
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Lay out names and what they are, both to the left; lines, each with an end."""
    width = max((len(name) for name, _ in rows), default=0)
    return "".join(f"{name.ljust(width)}  {value}\n" for name, value in rows)


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
