import re

import numpy as np
import pytest

from opensora.report.figures import (
    HEIGHT,
    WIDTH,
    Series,
    histogram,
    line_chart,
    nice_ticks,
    thin_out,
)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.5, 1]), (0, 100, [0, 50, 100]), (3, 17, [5, 10, 15]), (2, 2, [2])],
)
def test_ticks_are_round_and_inside(low, high, expected):
    assert nice_ticks(low, high, 3) == pytest.approx(expected)


def test_thinning_keeps_the_mean():
    x = np.arange(1000.0)
    thin_x, thin_y = thin_out(x, 2 * x, limit=100)
    assert len(thin_x) == 100
    assert thin_y.mean() == pytest.approx((2 * x).mean())
    assert thin_x[0] == pytest.approx(4.5)  # mean of 0..9


def points_of(svg):
    numbers = re.search(r'points="([^"]+)"', svg)[1]
    return np.array([[float(v) for v in pair.split(",")] for pair in numbers.split()])


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


def test_gaps_in_a_series_are_left_out():
    series = [Series("loss", [1, 2, 3, 4], [1.0, float("nan"), float("inf"), 2.0])]
    assert len(points_of(line_chart(series, label="loss"))) == 2


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
