import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensora.core.errors import ConfigError
from opensora.curation.clips.lengths import (
    ClipSettings,
    choose_frames,
    clip_size,
    group_stretches,
    split_span,
)

UNEVEN = np.array([0, 1, 2, 10, 11, 12, 20])  # ticks of six frames, two of which stand for 8


def evenly(num_source: int, source_fps: Fraction, fps: Fraction) -> list[int]:
    """Offsets where frames are evenly spaced: a tick is a frame."""
    return choose_frames(np.arange(num_source + 1), 1 / source_fps, fps)


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
    assert split_span(np.arange(last + 1), 0, last, 4) == expected


def test_uneven_frames_are_parted_by_time() -> None:
    # 0..2 last 10 ticks, more than 9: frame 2 starts the next piece, alone since it lasts 8
    assert split_span(UNEVEN, 0, 6, 9) == [(0, 2), (2, 4), (4, 6)]
    assert split_span(UNEVEN, 1, 5, 11) == [(1, 5)]
    assert split_span(UNEVEN, 0, 6, 5) == [(0, 2), (2, 3), (3, 5), (5, 6)]  # 2 and 5 stand longer


def test_stretches_between_keyframes_are_joined_while_they_fit() -> None:
    ticks = np.arange(101)
    assert group_stretches(ticks, [0, 10, 30, 60, 70, 100], 40) == [(0, 30), (30, 70), (70, 100)]
    assert group_stretches(ticks, [0, 60, 70], 40) == [(0, 60), (60, 70)]  # one stretch is longer
    assert group_stretches(ticks, [5], 40) == []


def test_limits_are_inclusive() -> None:
    assert ClipSettings(2.0, 4.0).tick_limits(Fraction(1, 8)) == (16, 32)
    # 29.97 * 1 s: 29 frames are the most that last no longer, and the limits never cross
    assert ClipSettings(1.0, 1.0).tick_limits(Fraction(1001, 30000)) == (29, 29)


def test_half_the_rate_takes_every_second_frame() -> None:
    assert evenly(8, Fraction(24), Fraction(12)) == [0, 2, 4, 6]
    assert evenly(9, Fraction(24), Fraction(12)) == [0, 2, 4, 6, 8]
    assert evenly(5, Fraction(24), Fraction(24)) == [0, 1, 2, 3, 4]
    assert evenly(10, Fraction(30), Fraction(24)) == [0, 1, 2, 3, 5, 6, 7, 8]


def test_two_seconds_of_a_broadcast_source_fill_a_bucket_of_16() -> None:
    rate = Fraction(30000, 1001)
    _, most = ClipSettings(1.0, 2.0).tick_limits(1 / rate)
    assert most == 59  # 60 frames would last 2.002 s
    assert len(evenly(most, rate, Fraction(8))) == 16


def test_uneven_frames_are_shown_as_long_as_they_stand() -> None:
    # 20 ticks of 0.1 s at 4 a second: times 0, 2.5, 5, ... ticks
    shown = choose_frames(UNEVEN, Fraction(1, 10), Fraction(4))
    assert shown == [0, 2, 2, 2, 3, 5, 5, 5]
    later = choose_frames(UNEVEN[2:], Fraction(1, 10), Fraction(4))  # counted from its first frame
    assert later == [0, 0, 0, 0, 3, 3, 3, 3]


@given(
    st.integers(1, 500),
    st.fractions(1, 120, max_denominator=1001),
    st.fractions(1, 120, max_denominator=1001),
)
def test_chosen_frames_lie_in_the_clip_and_never_repeat(
    num_source: int, first: Fraction, second: Fraction
) -> None:
    source_fps, fps = max(first, second), min(first, second)
    offsets = evenly(num_source, source_fps, fps)
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
    "wrong",
    [
        *({"min_s": 5.0, "max_s": 4.0}, {"min_s": 0.0}, {"fps": 0.0}, {"short_side": 1}),
        *({"mode": "cut"}, {"mode": "copy", "fps": 8.0}, {"mode": "copy", "short_side": 64}),
    ],
)
def test_settings_that_no_clip_satisfies_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        ClipSettings(**wrong)


def test_a_slow_source_keeps_its_rate() -> None:
    assert ClipSettings(fps=30.0).clip_fps(Fraction(8)) == 8
    assert ClipSettings(fps=29.97).clip_fps(Fraction(60)) == Fraction(30000, 1001)


def test_no_clip_is_longer_than_its_limit_at_any_rate() -> None:
    """Neither by the source's time nor by its own; and the shortest allowed is at hand."""
    rates = [Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001)]
    rates += [Fraction(30), Fraction(50), Fraction(60000, 1001), Fraction(14985, 1000)]
    limits = (0.5, 1.0, 2.0, 2.1, 5.0)
    for rate, seconds, fps in itertools.product(rates, limits, (None, 8.0, 12.0)):
        settings = ClipSettings(seconds, seconds, fps=fps)
        fewest, most = settings.tick_limits(1 / rate)
        assert fewest == most == int(Fraction(str(seconds)) * rate)
        own = settings.clip_fps(rate)
        lasts = len(evenly(most, rate, own)[: settings.most_frames(own)]) / own
        assert lasts <= Fraction(str(seconds))
        assert lasts > Fraction(str(seconds)) - 1 / own - 1 / rate  # less than a frame is missing
    assert ClipSettings(2.0, 2.0, fps=8.0).most_frames(Fraction(8)) == 16
    assert ClipSettings(1.0, 2.0).tick_limits(Fraction(1001, 30000)) == (30, 59)


@pytest.mark.parametrize("fps", [Fraction(8), Fraction(10), Fraction(19, 2)])
def test_the_late_look_at_uneven_frames_stays_inside_the_clip(fps: Fraction) -> None:
    ticks = np.array([0, 90, 210, 300, 390, 510, 600, 700, 790, 900, 960])
    shown = choose_frames(ticks, Fraction(1, 1000), fps, is_variable=True)
    assert max(shown) <= len(ticks) - 2  # the next one is of the clip behind
    assert shown == sorted(set(shown))
