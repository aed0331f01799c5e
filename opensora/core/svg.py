"""Figures of matplotlib as small SVG elements: no ids, dates or fonts; equal input, equal text."""

import io
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:  # matplotlib takes time to load, and most commands draw nothing
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

_SVG = "{http://www.w3.org/2000/svg}"
_SHAPES = {f"{_SVG}path": ("d", "style"), f"{_SVG}text": ("x", "y", "style")}
_SHARED = {f"{_SVG}use", f"{_SVG}image"}  # need ids, or are large
_SETTINGS = {
    **{"svg.fonttype": "none", "svg.hashsalt": "opensora"},
    **{"path.simplify": False, "text.parse_math": False},
}
_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_FONT_FAMILY = re.compile(r"font-family:[^;]*(; )?")  # the page, or the root, has one for all
_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_LONG_NUMBER = re.compile(r"-?\d+\.\d+")


def draw_svg(
    paint: Callable[["Figure"], None],
    *,
    width: int,
    height: int,
    label: str,
    attributes: Mapping[str, str],
) -> str:
    """Let `paint` draw on a figure and return it as an `<svg>` element.

    Nothing is clipped, so artists have to keep within their axes.

    Args:
        paint: draws on the figure it is given; one point is one user unit.
        width: of the figure, in user units.
        height: of the figure, in user units.
        label: what the figure shows, read by screen readers.
        attributes: further attributes of the element.

    Raises:
        ValueError: something was drawn that is neither a path nor a text.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    file = io.StringIO()
    with style.context(["default", _SETTINGS]):  # whatever the user's matplotlibrc says
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        figure.patch.set_visible(False)
        paint(figure)
        figure.savefig(file, format="svg", metadata=_METADATA)
    root = ElementTree.Element(
        "svg",
        {
            "xmlns": _SVG.strip("{}"),
            "viewBox": f"0 0 {width} {height}",
            "role": "img",
            "aria-label": _NOT_XML.sub("\ufffd", label),
            "stroke-linejoin": "round",
            **attributes,
        },
    )
    drawn = ElementTree.fromstring(_NOT_XML.sub("\ufffd", file.getvalue()))
    for group in drawn.iter(f"{_SVG}g"):
        _copy_shapes(group, root)
    return ElementTree.tostring(root, encoding="unicode")


def mark(artist: "Artist", style: str, title: str = "") -> None:
    """Give what an artist draws a CSS class and, where there is one, a title that pops up."""
    artist.set_gid(f"{style}:{title}")


def _copy_shapes(group: ElementTree.Element, root: ElementTree.Element) -> None:
    """Copy what a group draws, without its inner groups; only marked groups stay groups."""
    style, is_marked, title = group.get("id", "").partition(":")
    home = root
    if is_marked:
        home = ElementTree.SubElement(root, "g", {"class": style})
        if title:
            ElementTree.SubElement(home, "title").text = title
    for shape in group:
        if names := _SHAPES.get(shape.tag):
            kept = {name: _shorten(name, shape.attrib[name]) for name in names}
            copy = ElementTree.SubElement(home, shape.tag.removeprefix(_SVG), kept)
            copy.text = shape.text
        elif shape.tag in _SHARED:
            raise ValueError("markers, collections and images cannot be drawn; draw patches")


def _shorten(name: str, value: str) -> str:
    if name == "style":
        return _FONT_FAMILY.sub("", value)
    rounded = _LONG_NUMBER.sub(lambda number: f"{round(float(number[0]), 1):g}", value)
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", rounded).strip()
