import re
import xml.etree.ElementTree as ElementTree

import pytest

from opensora.core.errors import ConfigError
from opensora.plans.bars import Panel, bar_chart, check_plot_path

SVG = "{http://www.w3.org/2000/svg}"


def bar_length(path):
    xs = [float(x) for x in re.findall(r"[ML]([\d.]+) ", path.get("d"))]
    return max(xs) - min(xs)


def test_a_bar_is_as_long_as_its_value_and_panels_have_their_own_scale():
    panels = [Panel("clips", [10, 5], ["10", "5"]), Panel("tokens", [1e9, 0], ["1 G", "0"])]
    root = ElementTree.fromstring(bar_chart("a <plan> & more", ["32px|8", "24px|8"], panels))
    bars = [bar_length(path) for path in root.iterfind(f".//{SVG}g[@class='bar']/{SVG}path")]
    assert bars == pytest.approx([bars[0], bars[0] / 2, bars[0], 0.0], abs=0.1)
    assert bars[0] > 100
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"a <plan> & more", "32px|8", "24px|8", "clips", "tokens", "1 G"} <= set(texts)
    assert root.get("aria-label") == "a <plan> & more"


def test_bars_and_their_texts_stand_beside_their_labels():
    svg = bar_chart("plan", ["a", "b"], [Panel("clips", [1, 2], ["one", "two"])])
    places = {text.text: text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")}
    for label, text in (("a", "one"), ("b", "two")):
        assert places[label].get("y") == places[text].get("y")
    rows = [float(places[label].get("y")) for label in "ab"]
    assert rows[1] - rows[0] == pytest.approx(18, abs=0.1)  # the first row is the top one


def test_equal_input_gives_an_equal_file():
    panels = [Panel("clips", [10, 5], ["10", "5"])]
    assert bar_chart("plan", ["a", "b"], panels) == bar_chart("plan", ["a", "b"], panels)


def test_a_chart_without_rows_or_with_zeros_is_drawn():
    ElementTree.fromstring(bar_chart("empty", [], [Panel("clips", [], [])]))
    ElementTree.fromstring(bar_chart("zero", ["a"], [Panel("clips", [0], ["0"])]))


def test_only_svg_is_written():
    check_plot_path(None)
    check_plot_path("out/plan.svg")
    with pytest.raises(ConfigError, match=r"--plot plan.png: expected a name that ends in .svg"):
        check_plot_path("plan.png")
