import math

import numpy as np
import pytest

from opensora.evaluation.statistics import (
    Z_95,
    bootstrap_mean,
    proportion,
    summarise,
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


def test_an_interval_of_many_values_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(3.0, 2.0, 900)
    mean, low, high = bootstrap_mean(values, [str(k) for k in range(900)])
    half = Z_95 * values.std(ddof=1) / 30
    assert (mean, low, high) == pytest.approx((values.mean(), mean - half, mean + half), abs=0.02)


def test_few_values_have_a_wider_interval_than_their_resamples():
    # the plain percentiles of eight values cover in fewer than 90 % of the cases
    covered = 0
    for seed in range(200):
        values = np.random.default_rng(seed).normal(size=8)
        _, low, high = bootstrap_mean(values, list("abcdefgh"))
        covered += low <= 0.0 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_samples_of_one_prompt_count_as_one():
    values = np.random.default_rng(0).normal(size=12).repeat(4)
    _, low, high = bootstrap_mean(values, [str(k // 4) for k in range(48)])
    once = bootstrap_mean(values[::4], [str(k) for k in range(12)])
    assert (low, high) == pytest.approx(once[1:])
    assert bootstrap_mean([0.0, 1.0], ["a", "a"]) == (0.5, None, None)


def test_what_has_no_value_keeps_its_place_and_does_not_count():
    values = {"a": 1.0, "b": None, "c": math.inf, "d": 3.0}
    result = summarise(values, {name: name for name in values})
    assert (result["mean"], result["count"]) == (2.0, 2)
    assert result["samples"] == {"a": 1.0, "b": None, "c": None, "d": 3.0}
    assert summarise({}, {})["mean"] is None
