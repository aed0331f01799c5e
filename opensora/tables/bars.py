"""Bars as an SVG file that stands alone: one row per label, one panel per quantity."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from opensora.core.errors import ConfigError

_ROW, _BAR = 18, 11  # height of a row and of its bar, in user units (pixels at normal size)
_LABEL, _PANEL, _GAP, _TEXT = 150, 190, 16, 62
_TOP = 44
_COLOURS = ("#2f6f9f", "#b5651d", "#4f7d3a", "#7a4f8a")


class Panel(NamedTuple):
    """One quantity of all rows.

    Attributes:
        title: what it is, with its unit.
        values: length of the bars, one per label; not negative.
        texts: what is written beside the bars.
    """

    title: str
    values: Sequence[float]
    texts: Sequence[str]


def check_plot_path(path: str | None) -> None:
    """Refuse a picture of another kind before anything is computed.

    Raises:
        ConfigError: the name does not end in .svg.
    """
    if path is not None and Path(path).suffix != ".svg":
        raise ConfigError(f"--plot {path}: expected a name that ends in .svg")


def bar_chart(title: str, labels: Sequence[str], panels: Sequence[Panel]) -> str:
    """Draw horizontal bars; each panel has a scale of its own, from 0 to its largest value.

    Returns:
        The text of an SVG file; equal input gives equal text.
    """
    width = _LABEL + len(panels) * (_PANEL + _GAP)
    height = _TOP + max(len(labels), 1) * _ROW + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}"'
        ' font-family="system-ui, sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="8" y="16" font-size="13" font-weight="600">{escape(title)}</text>',
    ]
    for row, label in enumerate(labels):
        y = _TOP + row * _ROW
        parts.append(f'<text x="8" y="{y + _BAR - 1}">{escape(label)}</text>')
    for number, panel in enumerate(panels):
        left = _LABEL + number * (_PANEL + _GAP)
        parts.append(
            f'<text x="{left}" y="34" font-weight="600" fill="#444">{escape(panel.title)}</text>'
        )
        largest = max(panel.values, default=0) or 1
        colour = _COLOURS[number % len(_COLOURS)]
        for row, (value, text) in enumerate(zip(panel.values, panel.texts, strict=True)):
            y, length = _TOP + row * _ROW, value / largest * (_PANEL - _TEXT)
            parts.append(
                f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="2"'
                f' fill="{colour}"/><text x="{left + length + 4:.1f}" y="{y + _BAR - 1}"'
                f' fill="#444">{escape(text)}</text>'
            )
    return "\n".join([*parts, "</svg>"]) + "\n"
