from collections import Counter

import pytest

from opensora.media.frames import choose_window


def window(identity="a", total=20, frames=4, interval=2, seed=1, epoch=0) -> list[int]:
    chosen = choose_window(identity, total, frames, interval, seed=seed, epoch=epoch)
    return chosen.tolist()


def test_a_window_depends_on_seed_epoch_and_id_alone():
    assert window() == window()
    different = [window(seed=2), window(epoch=1), window(identity="b")]
    assert any(other != window() for other in different)


def test_every_start_is_reached_as_often_the_last_one_too():
    # 8 source frames in 11: starts 0, 1, 2, 3; the reference never begins at 3
    starts = Counter(window(str(k), total=11)[0] for k in range(2000))
    assert sorted(starts) == [0, 1, 2, 3]
    assert all(400 < count < 600 for count in starts.values())


@pytest.mark.parametrize(
    ("total", "frames", "interval", "expected"),
    [
        (4, 4, 1, [0, 1, 2, 3]),  # one window: every frame
        (12, 4, 3, [0, 3, 7, 11]),  # spread to both ends, cut to whole numbers
        (6, 4, 3, [0, 1, 3, 5]),  # too short for the interval: covered whole
        (1, 1, 3, [0]),
    ],
)
def test_frames_are_spread_over_the_window(total, frames, interval, expected):
    assert window(total=total, frames=frames, interval=interval) == expected


def test_a_clip_with_too_few_frames_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        window(total=3)
