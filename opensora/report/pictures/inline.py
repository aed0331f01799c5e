"""SVG for the page: inline, and in the colours of the page's light and dark theme."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from markupsafe import Markup

from opensora.core.svg import draw_svg
from opensora.core.text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Theme(StrEnum):
    """Colours to draw with: each stands in for the variable of that name in the page's CSS."""

    INK = "#0000a0"
    SOFT = "#0000a1"
    FAINT = "#0000a2"
    LINE = "#0000a3"
    SURFACE = "#0000a4"
    GHOST = "#0000a5"
    ACCENT = "#0000a6"
    ACCENT_SOFT = "#0000a7"
    SECOND = "#0000a8"
    THIRD = "#0000a9"
    LOST_SOFT = "#0000b0"

    @property
    def variable(self) -> str:
        """The colour as the page knows it."""
        return f"var(--{self.name.lower().replace('_', '-')})"


def inline_svg(
    paint: Callable[[Figure], None], *, width: int, height: int, label: str, style: str
) -> Markup:
    """Draw as `draw_svg` does, in the colours of the page; `style` is the element's CSS class."""
    svg = draw_svg(paint, width=width, height=height, label=label, attributes={"class": style})
    for colour in Theme:
        svg = svg.replace(f": {colour}", f": {colour.variable}")
    return Markup(visible(svg, keep="\n"))
