import math

import numpy as np
import pytest

from opensora.evaluation.statistics import (
    Z_95,
    mean_interval,
    proportion,
    wilson_interval,
)


def test_wilson_interval_gives_the_published_examples():
    # Newcombe 1998, Stat. Med. 17, table I, method 3: 1/29 -> 0.0061 to 0.1718
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    # and 81/263 -> 0.2553 to 0.3662
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_wilson_bounds_solve_the_score_equation():
    # the bounds are where |p_hat - p| = z sqrt(p (1 - p) / n)
    for bound in wilson_interval(33, 48):
        assert abs(33 / 48 - bound) == pytest.approx(Z_95 * math.sqrt(bound * (1 - bound) / 48))


@pytest.mark.parametrize(("successes", "expected"), [(0, (0.0, 0.5)), (4, (0.5, 1.0))])
def test_wilson_interval_at_the_ends_with_z_two(successes, expected):
    # k = 0: high = z^2 / (n + z^2) = 4 / 8; k = n mirrors it
    assert wilson_interval(successes, 4, z=2.0) == pytest.approx(expected)


def test_no_trials_say_nothing():
    assert proportion(0, 0) == {"correct": 0, "n": 0, "accuracy": None, "low": 0.0, "high": 1.0}


def test_more_successes_than_trials_are_refused():
    with pytest.raises(ValueError, match="outside"):
        wilson_interval(5, 4)


def test_mean_interval_by_hand():
    # values 1, 3: mean 2, deviation sqrt(2), half width 1.96 * sqrt(2) / sqrt(2)
    result = mean_interval(np.array([1.0, 3.0]))
    assert result == pytest.approx({"mean": 2.0, "n": 2, "low": 2 - Z_95, "high": 2 + Z_95})
    assert mean_interval(np.array([]))["mean"] is None
