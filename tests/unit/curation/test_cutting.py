import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensora.core.errors import ConfigError
from opensora.curation.cutting import ClipSettings, choose_frames, clip_size, split_span


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (4, [(0, 4)]),
        (8, [(0, 4), (4, 8)]),
        (9, [(0, 4), (4, 8), (8, 9)]),
    ],
)
def test_long_spans_become_full_pieces_and_a_rest(
    last: int, expected: list[tuple[int, int]]
) -> None:
    assert split_span(0, last, 4) == expected


def test_frame_limits_are_inclusive() -> None:
    assert ClipSettings(2.0, 4.0).frame_limits(Fraction(8)) == (16, 32)
    # 29.97 * 1 s: 30 frames are the first that last a second, and the limits never cross
    assert ClipSettings(1.0, 1.0).frame_limits(Fraction(30000, 1001)) == (30, 30)


def test_half_the_rate_takes_every_second_frame() -> None:
    assert choose_frames(8, Fraction(24), Fraction(12)) == [0, 2, 4, 6]
    assert choose_frames(9, Fraction(24), Fraction(12)) == [0, 2, 4, 6, 8]
    assert choose_frames(5, Fraction(24), Fraction(24)) == [0, 1, 2, 3, 4]
    assert choose_frames(10, Fraction(30), Fraction(24)) == [0, 1, 2, 3, 5, 6, 7, 8]


def test_two_seconds_of_a_broadcast_source_fill_a_bucket_of_16() -> None:
    rate = Fraction(30000, 1001)
    _, most = ClipSettings(1.0, 2.0).frame_limits(rate)
    assert most == 59  # 60 frames would last 2.002 s
    assert len(choose_frames(most, rate, Fraction(8))) == 16


@given(
    st.integers(1, 500),
    st.fractions(1, 120, max_denominator=1001),
    st.fractions(1, 120, max_denominator=1001),
)
def test_chosen_frames_lie_in_the_clip_and_never_repeat(
    num_source: int, first: Fraction, second: Fraction
) -> None:
    source_fps, fps = max(first, second), min(first, second)
    offsets = choose_frames(num_source, source_fps, fps)
    assert offsets[0] == 0
    assert offsets[-1] < num_source
    assert all(a < b for a, b in itertools.pairwise(offsets))


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((41, 65), None, (40, 64)),
        ((40, 64), 80, (40, 64)),  # never enlarged
        ((1080, 1920), 360, (360, 640)),
        ((1920, 1080), 360, (640, 360)),
        ((1, 9), None, (2, 8)),
    ],
)
def test_clip_sizes_are_even_and_only_shrink(
    size: tuple[int, int], short_side: int | None, expected: tuple[int, int]
) -> None:
    assert clip_size(*size, short_side) == expected


@pytest.mark.parametrize(
    "wrong", [{"min_s": 5.0, "max_s": 4.0}, {"min_s": 0.0}, {"fps": 0.0}, {"short_side": 1}]
)
def test_settings_that_no_clip_satisfies_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        ClipSettings(**wrong)


def test_a_slow_source_keeps_its_rate() -> None:
    assert ClipSettings(fps=30.0).clip_fps(Fraction(8)) == 8
    assert ClipSettings(fps=29.97).clip_fps(Fraction(60)) == Fraction(30000, 1001)
