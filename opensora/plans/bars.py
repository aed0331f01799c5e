"""Bars as an SVG file that stands alone: one row per label, one panel per quantity."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from opensora.core.errors import ConfigError
from opensora.core.svg import draw_svg, mark

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW, _BAR = 18, 11  # height of a row and of its bar, in user units (pixels at normal size)
_LABEL, _PANEL, _GAP, _TEXT = 150, 190, 16, 62
_TOP, _BOTTOM = 48, 8
_SOFT = "#444444"
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


def bar_chart(
    title: str, labels: Sequence[str], panels: Sequence[Panel], *, top: float | None = None
) -> str:
    """Draw horizontal bars; each panel has a scale of its own, from 0 to its largest value.

    Args:
        title: of the whole.
        labels: one a row.
        panels: quantities, from left to right.
        top: end of the scale of all panels, where they are to be compared.

    Returns:
        The text of an SVG file; equal input gives equal text.
    """
    width = _LABEL + len(panels) * (_PANEL + _GAP)
    rows = max(len(labels), 1) * _ROW
    height = _TOP + rows + _BOTTOM

    def paint(figure: "Figure") -> None:
        figure.patch.set_visible(True)  # white, also where a viewer has dark pages
        figure.text(8 / width, 1 - 18 / height, title, fontsize=13, fontweight="bold")
        for number, (panel, colour) in enumerate(zip(panels, itertools.cycle(_COLOURS))):
            left = _LABEL + number * (_PANEL + _GAP)
            place = (left / width, _BOTTOM / height, _PANEL / width, rows / height)
            axes = figure.add_axes(place, frameon=False)
            axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold", color=_SOFT)
            axes.tick_params(
                length=0, pad=8, labelbottom=False, labelleft=number == 0, labelsize=11
            )
            places = range(len(labels))
            bars = axes.barh(places, panel.values, height=_BAR / _ROW, color=colour)
            texts = axes.bar_label(bars, panel.texts, padding=4, fontsize=11, color=_SOFT)
            for bar, text in zip(bars, texts, strict=True):
                mark(bar, "bar")
                text.set_verticalalignment("center_baseline")  # as the names of the rows
            axes.set_yticks(places, labels)
            axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)  # the first row is the top one
            largest = top or max(panel.values, default=0) or 1
            axes.set_xlim(0, largest * _PANEL / (_PANEL - _TEXT))

    size = {"width": f"{width}", "height": f"{height}", "font-family": "system-ui, sans-serif"}
    svg = draw_svg(paint, width=width, height=height, label=title, attributes=size)
    return f"{svg}\n"
