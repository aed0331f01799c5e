"""Which caption of a clip an epoch sees."""

from collections import Counter
from itertools import pairwise

import pytest

from opensora.core.seed import take_turns


def draw_caption(seed: int, epoch: int, clip: str, number: int) -> int:
    return take_turns(number, epoch, seed=seed, what="caption", identity=clip)


def seen(clip: str, count: int, epochs: int, seed: int = 1) -> list[int]:
    return [draw_caption(seed, epoch, clip, count) for epoch in range(epochs)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_round_of_epochs_sees_each_caption_once(count: int) -> None:
    for clip in ("a", "b", "c"):
        epochs = seen(clip, count, 6 * count)
        rounds = [epochs[start : start + count] for start in range(0, 6 * count, count)]
        assert all(sorted(part) == list(range(count)) for part in rounds)


def test_clips_rounds_and_seeds_have_orders_of_their_own() -> None:
    firsts = Counter(draw_caption(1, 0, f"c{k}", 3) for k in range(900))
    assert all(250 < firsts[k] < 350 for k in range(3))
    epochs = seen("a", 3, 60)
    rounds = [tuple(epochs[start : start + 3]) for start in range(0, 60, 3)]
    assert any(one != other for one, other in pairwise(rounds))
    assert seen("a", 3, 60, seed=2) != epochs


def test_an_epoch_alone_gives_what_it_gives_behind_others() -> None:
    straight = seen("a", 4, 40)
    assert [draw_caption(1, epoch, "a", 4) for epoch in (39, 7, 22)] == [
        *(straight[epoch] for epoch in (39, 7, 22))
    ]
