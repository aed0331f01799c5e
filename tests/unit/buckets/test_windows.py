"""Which windows of a clip are stored, and how epochs choose among them."""

from collections import Counter

import pytest

from opensora.buckets.windows import draw_window, window_starts


@pytest.mark.parametrize(
    ("frames", "span", "windows", "starts"),
    [
        (100, 16, 1, (0,)),
        (100, 16, 2, (0, 84)),
        (100, 16, 3, (0, 84, 42)),
        (100, 16, 5, (0, 84, 42, 21, 63)),
        (16, 16, 4, (0,)),  # as long as its window
        (17, 16, 4, (0, 1)),
        (18, 16, 9, (0, 2, 1)),
        (5, 16, 2, (0,)),  # what is too short has the reason of the decoder
    ],
)
def test_starts_are_the_first_the_last_and_others_between(frames, span, windows, starts):
    assert window_starts(frames, span, windows) == starts


def test_more_windows_begin_with_the_same_and_all_lie_in_the_clip():
    for frames in range(16, 60):
        before: tuple[int, ...] = ()
        for windows in range(1, 50):
            starts = window_starts(frames, 16, windows)
            assert starts[: len(before)] == before
            assert len(set(starts)) == len(starts) == min(windows, frames - 16 + 1)
            assert 0 <= min(starts) <= max(starts) <= frames - 16
            before = starts


def test_epochs_and_clips_draw_each_window_equally_often():
    drawn = Counter(
        draw_window(1, epoch, f"clip{k}") % 3 for epoch in range(100) for k in range(30)
    )
    assert sorted(drawn) == [0, 1, 2]
    assert min(drawn.values()) > 900
    assert draw_window(1, 2, "a") == draw_window(1, 2, "a") != draw_window(1, 3, "a")
