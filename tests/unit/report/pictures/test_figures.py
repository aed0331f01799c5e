import re
import xml.etree.ElementTree as ElementTree
from importlib.resources import files

import numpy as np
import pytest

from opensora.report.footage.funnel import FunnelStage, Loss
from opensora.report.pictures.figures import (
    HEIGHT,
    WIDTH,
    Series,
    histogram,
    line_chart,
    thin_out,
)
from opensora.report.pictures.flow import flow
from opensora.report.pictures.inline import Theme

SVG = "{http://www.w3.org/2000/svg}"


def ticks_of(svg, *, anchor):
    texts = ElementTree.fromstring(svg).iter(f"{SVG}text")
    return [t.text for t in texts if f"text-anchor: {anchor}" in t.get("style")]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, ["0", "0.5", "1"]),
        (0, 100, ["0", "50", "100"]),
        (3, 17, ["5", "10", "15"]),
        (1, 40_000, ["10 k", "20 k", "30 k", "40 k"]),
        (1_000_000, 3_000_000, ["1 M", "2 M", "3 M"]),
    ],
)
def test_ticks_are_round_and_inside(low, high, expected):
    svg = line_chart([Series("loss", [low, high], [1.0, 2.0])], label="loss")
    shown = ticks_of(svg, anchor="middle")
    assert set(expected) <= set(shown)
    assert len(shown) <= 5


def test_thinning_keeps_the_mean():
    x = np.arange(1000.0)
    thin_x, thin_y = thin_out(x, 2 * x, limit=100)
    assert len(thin_x) == 100
    assert thin_y.mean() == pytest.approx((2 * x).mean())
    assert thin_x[0] == pytest.approx(4.5)  # mean of 0..9


def test_thinning_leaves_unknown_values_out_of_the_mean():
    y = np.ones(1000)
    y[5], y[100:200] = np.nan, np.nan
    thin_y = thin_out(np.arange(1000.0), y, limit=100)[1]
    assert np.isnan(thin_y).sum() == 10
    assert thin_y[0] == 1


def outlines_of(svg, style="line main"):
    """Unbroken pieces of a line as arrays of points."""
    path = ElementTree.fromstring(svg).find(f"{SVG}g[@class='{style}']/{SVG}path")
    pieces = path.get("d").split("M")[1:]
    return [np.array([p.split() for p in piece.split("L")], dtype=float) for piece in pieces]


def points_of(svg):
    (points,) = outlines_of(svg)
    return points


def test_a_falling_loss_goes_down_from_left_to_right():
    points = points_of(line_chart([Series("loss", [1, 2, 3], [3.0, 2.0, 1.0])], label="loss"))
    assert (np.diff(points[:, 0]) > 0).all()
    assert (np.diff(points[:, 1]) > 0).all()  # SVG's y axis points down
    # equal steps in value are equal steps on the page
    assert np.diff(points[:, 1]) == pytest.approx([np.diff(points[:, 1])[0]] * 2, abs=0.11)
    assert ((points >= 0) & (points <= [WIDTH, HEIGHT])).all()


def test_wide_ranges_get_a_logarithmic_axis_unless_forbidden():
    series = [Series("loss", [1, 2, 3], [100.0, 10.0, 1.0])]
    log = np.diff(points_of(line_chart(series, label="loss"))[:, 1])
    assert log[0] == pytest.approx(log[1], abs=1.5)
    linear = np.diff(points_of(line_chart(series, label="loss", may_be_log=False))[:, 1])
    assert linear[0] == pytest.approx(10 * linear[1], rel=0.1)


def test_a_value_far_above_the_others_stays_on_the_chart():
    y = [1.0] * 500 + [1e6] + [2.0] * 500
    points = points_of(line_chart([Series("loss", range(1001), y)], label="loss", may_be_log=False))
    assert ((points >= 0) & (points <= [WIDTH, HEIGHT])).all()
    assert np.ptp(points[:50, 1]) == 0
    assert points[0, 1] - points[-1, 1] > 50  # one and two are still told apart


def test_unknown_values_leave_gaps():
    y = [1.0, 2.0, float("nan"), float("inf"), 2.0, 1.0]
    first, second = outlines_of(line_chart([Series("loss", range(6), y)], label="loss"))
    assert (len(first), len(second)) == (2, 2)
    assert first[0, 1] == second[1, 1]


def test_a_value_between_gaps_is_a_dot():
    y = [1.0, float("nan"), 2.0, float("nan"), 3.0]
    pieces = outlines_of(line_chart([Series("loss", range(5), y)], label="loss"))
    assert [len(piece) for piece in pieces] == [2, 2, 2]  # from a place to the same place
    assert all((piece[0] == piece[1]).all() for piece in pieces)


def test_long_series_are_thinned_out():
    points = points_of(line_chart([Series("loss", range(5000), np.ones(5000))], label="loss"))
    assert len(points) == WIDTH


def test_the_last_value_can_be_read():
    svg = line_chart([Series("loss", [1, 2], [3.0, 0.25])], label="loss")
    assert "<title>loss: 0.250</title>" in svg
    assert "<title>" not in line_chart([Series("raw", [1, 2], [3, 4], "faint")], label="loss")


def test_colours_are_those_of_the_page():
    svg = line_chart(
        [
            Series(style, [1, 2], [3.0, 2.0], style)
            for style in ("faint", "main", "second", "third")
        ],
        label="loss",
    )
    svg += histogram([0.1, 0.2], [0.1, 0.9], label="flow")
    svg += flow([FunnelStage("filter", 2, 4.0, 1, 2.0, (Loss("dark", 1, 2.0),))])
    used = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)) - {"none"}
    page = (files("opensora.report") / "page/style.css").read_text()
    assert used == {colour.variable for colour in Theme}
    assert all(f"{colour.variable[4:-1]}:" in page for colour in Theme)


def test_charts_of_one_page_share_no_ids():
    chart = line_chart([Series("loss", [1, 2], [3.0, 2.0])], label="loss")
    assert not re.search(r"\bid=|url\(|href", chart + histogram([0.1, 0.2], label="flow"))


def test_equal_values_give_equal_charts():
    charts = {line_chart([Series("loss", [1, 2], [3.0, 2.0])], label="loss") for _ in range(2)}
    assert len(charts) == 1
    assert 'role="img" aria-label="loss"' in charts.pop()


def test_nothing_finite_gives_no_chart():
    assert line_chart([Series("loss", [1], [float("nan")])], label="loss") == ""
    assert histogram([float("nan")], label="flow") == ""


def test_histogram_bars_add_up_to_the_number_of_clips():
    svg = histogram([0.1, 0.2, 0.2, 0.9], [0.0, 0.1, 0.2, 0.2, 0.9], label="flow", bins=4)
    counts = {"kept": 0, "all": 0}
    for count, style in re.findall(r"(\d+) (kept|all)</title>", svg):
        counts[style] += int(count)
    assert counts == {"kept": 4, "all": 5}


def test_labels_are_escaped():
    svg = line_chart([Series("<b>", [1, 2], [1.0, 2.0])], label='"><script>')
    assert "<script>" not in svg
    assert "<b>" not in svg
