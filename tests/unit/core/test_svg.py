import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import matplotlib
import pytest

from opensora.core.svg import draw_svg, mark

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '"><script>$\\frac{$\x01'


def draw(paint, **attributes):
    return draw_svg(paint, width=144, height=72, label=HOSTILE, attributes=attributes)


def paint(figure):
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 144), ylim=(0, 72))
    axes.set_axis_off()
    (line,) = axes.plot([0, 36.04, float("nan"), 144], [0, 36, 1, 72])
    mark(line, "line", HOSTILE)
    axes.text(72, 36, HOSTILE)


def test_one_point_is_one_unit_and_numbers_are_short():
    path = ElementTree.fromstring(draw(paint)).find(f"{SVG}g[@class='line']/{SVG}path")
    assert path.get("d") == "M0 72L36 36M144 0"


def test_marked_artists_are_groups_with_a_class_and_a_title():
    groups = list(ElementTree.fromstring(draw(paint)).iter(f"{SVG}g"))
    assert [group.get("class") for group in groups] == ["line"]
    assert groups[0].find(f"{SVG}title").text == '"><script>$\\frac{$\ufffd'


def test_words_stay_as_they_are_in_the_font_of_the_page():
    root = ElementTree.fromstring(draw(paint))
    assert '"><script>$\\frac{$\ufffd' in [text.text for text in root.iter(f"{SVG}text")]
    assert root.get("aria-label") == '"><script>$\\frac{$\ufffd'
    assert root.get("role") == "img"
    assert "font-family" not in draw(paint)
    assert "<script>" not in draw(paint)


def test_figures_of_one_page_share_no_ids():
    svg = draw(paint, id="mine")
    assert svg.count("id=") == 1
    assert "url(" not in svg
    assert "href" not in svg
    assert svg.startswith("<svg")


def test_what_would_need_ids_is_an_error_and_does_not_vanish():
    with pytest.raises(ValueError, match="markers"):
        draw(lambda figure: figure.add_axes((0, 0, 1, 1), frameon=False).scatter([1], [1]))


def test_equal_figures_are_equal_text_whatever_the_user_has_set():
    expected = draw(paint)
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "svg.fonttype": "path"}):
        assert draw(paint) == expected
        assert matplotlib.rcParams["font.size"] == 30  # and the user's settings come back


@pytest.mark.parametrize("module", ["opensora.core.svg", "opensora.plans.figures"])
def test_what_may_draw_loads_matplotlib_only_to_draw(module):
    code = f"import sys, {module}; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_drawing_needs_no_global_state():
    code = (
        "import sys; from opensora.core.svg import draw_svg;"
        "draw_svg(lambda figure: None, width=9, height=9, label='', attributes={});"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
