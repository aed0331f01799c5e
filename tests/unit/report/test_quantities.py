import math

import pytest

from opensora.report import quantities


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0 s"),
        (0.44, "0.4 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200.0, "3 min 20 s"),
        (1649.0, "27 min"),
        (9000.0, "2.5 h"),
        (math.nan, "\u2013"),
        (None, "\u2013"),
    ],
)
def test_seconds_get_the_unit_a_reader_would_choose(value, expected):
    assert quantities.seconds(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "0"), (12345.0, "12,345"), (33.44, "33.4"), (0.00123, "0.00123"), (2e-5, "2.00e-5")],
)
def test_numbers_keep_three_significant_digits(value, expected):
    assert quantities.number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(0.625, "62 %"), (0.0052, "0.5 %"), (0.0, "0 %"), (None, "\u2013")]
)
def test_small_shares_keep_a_decimal(value, expected):
    assert quantities.percent(value) == expected
