"""Windows of a long clip: where they begin, and which one an epoch sees."""

from collections import Counter
from itertools import pairwise

import pytest

from opensora.buckets.windows import window_starts
from opensora.core.seed import take_turns


def draw_window(seed: int, epoch: int, clip: str, number: int) -> int:
    return take_turns(number, epoch, seed=seed, what="window", identity=clip)


@pytest.mark.parametrize("clip_frames", [16, 17, 18, 19, 24, 100, 1000])
@pytest.mark.parametrize("windows", [1, 2, 3, 4, 7, 50])
def test_starts_are_different_frames_of_the_clip_and_as_many_as_there_can_be(clip_frames, windows):
    starts = window_starts(clip_frames, 16, windows)
    assert len(set(starts)) == len(starts) == min(windows, clip_frames - 15)
    assert starts[0] == 0
    assert all(0 <= start <= clip_frames - 16 for start in starts)
    if len(starts) > 1:
        assert starts[1] == clip_frames - 16  # the last frames of the clip are seen too


def test_more_windows_begin_with_the_same_ones():
    for clip_frames in (17, 23, 64, 301):
        found = [window_starts(clip_frames, 16, windows) for windows in range(1, 40)]
        assert all(more[: len(less)] == less for less, more in pairwise(found))


def test_they_lie_evenly():
    assert window_starts(116, 16, 5) == (0, 100, 50, 25, 75)
    places = sorted(window_starts(1016, 16, 33))
    assert max(after - before for before, after in pairwise(places)) <= 32


def test_a_clip_no_longer_than_its_window_has_one():
    assert window_starts(16, 16, 8) == window_starts(5, 16, 8) == (0,)


def test_every_four_epochs_see_each_of_four_windows_once():
    for name in ("a", "b", "c"):
        drawn = [draw_window(7, epoch, name, 4) for epoch in range(400)]
        assert all(sorted(drawn[turn : turn + 4]) == [0, 1, 2, 3] for turn in range(0, 400, 4))
        # in orders of their own: each of the 24 comes up among the hundred
        assert len({tuple(drawn[turn : turn + 4]) for turn in range(0, 400, 4)}) > 12


def test_an_epoch_sees_all_windows_evenly_over_its_clips():
    drawn = Counter(draw_window(7, 2, f"c{k}", 4) for k in range(4000))
    # 1,000 of each are expected; five deviations of a binomial are 137
    assert sorted(drawn) == [0, 1, 2, 3]
    assert all(abs(count - 1000) < 137 for count in drawn.values())


def test_a_draw_depends_on_seed_epoch_and_clip():
    def draws(seed: int, name: str) -> list[int]:
        return [draw_window(seed, epoch, name, 5) for epoch in range(20)]

    assert draws(1, "a") == draws(1, "a")
    assert len({tuple(draws(seed, name)) for seed in (1, 2) for name in ("a", "b")}) == 4
    assert {draw_window(1, epoch, "a", 1) for epoch in range(9)} == {0}
