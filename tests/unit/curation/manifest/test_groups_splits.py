import numpy as np
import pandas as pd
import pytest

from opensora.core.errors import ConfigError
from opensora.curation.manifest.groups import assign_splits

VIDEOS = pd.Series([f"v{k // 3}" for k in range(900)])  # 300 videos of 3 clips
OWN = np.arange(900)


def sides(videos: pd.Series, groups: np.ndarray) -> pd.Series:
    split = assign_splits(videos, groups, validation_fraction=0.1, test_fraction=0.2)
    return pd.Series(split)


def test_shares_of_videos_and_never_two_sides_of_one_video() -> None:
    split = sides(VIDEOS, OWN)
    per_video = split.groupby(VIDEOS).agg(["nunique", "first"])
    assert set(per_video["nunique"]) == {1}
    shares = per_video["first"].value_counts(normalize=True)
    # three standard deviations of 300 draws are 0.052 and 0.069
    assert abs(shares["validation"] - 0.1) < 0.052
    assert abs(shares["test"] - 0.2) < 0.069


def test_more_videos_move_none_that_are_there() -> None:
    more = pd.concat([pd.Series(["new1", "new2"]), VIDEOS], ignore_index=True)
    assert sides(more, np.arange(902))[2:].tolist() == sides(VIDEOS, OWN).tolist()


def test_videos_that_share_a_near_duplicate_go_to_the_held_out_side() -> None:
    alone = sides(VIDEOS, OWN)
    train = int(np.flatnonzero(alone == "train")[0])
    test = int(np.flatnonzero(alone == "test")[0])
    groups = OWN.copy()
    groups[[train, test]] = min(train, test)
    tied = sides(VIDEOS, groups)
    assert set(tied[VIDEOS[train] == VIDEOS]) == {"test"}
    others = (VIDEOS[train] != VIDEOS).to_numpy()
    assert tied[others].tolist() == alone[others].tolist()


def test_shares_that_leave_nothing_to_train_are_refused() -> None:
    with pytest.raises(ConfigError, match="less than 1 together"):
        assign_splits(VIDEOS, OWN, validation_fraction=0.6, test_fraction=0.4)
    with pytest.raises(ConfigError, match=r"--test-fraction 1"):
        assign_splits(VIDEOS, OWN, validation_fraction=0.1, test_fraction=1.0)


def held_out(names: list[str], count: int) -> list[str]:
    """The first of some names that are each drawn for validation beside others."""
    draws = sides(pd.Series([*names, *VIDEOS]), np.arange(len(names) + len(VIDEOS)))[: len(names)]
    return [name for name, side in zip(names, draws, strict=True) if side != "train"][:count]


def test_the_only_video_trains_whatever_it_drew(caplog) -> None:
    names = [f"one{seed:02d}" for seed in range(40)]
    assert len(held_out(names, 40)) > 3
    for name in names:
        assert set(sides(pd.Series([name] * 3), np.arange(3))) == {"train"}
    assert "each of 1 source videos was drawn for validation or test; 1 stays" in caplog.text
    assert "none is held out" in caplog.text


def test_of_videos_all_drawn_one_trains_and_what_it_is_holds_for_its_parts() -> None:
    names = held_out([f"w{k}" for k in range(60)], 6)
    assert len(names) == 6
    alone = sides(pd.Series(names), np.arange(6))
    (first,) = np.flatnonzero(alone == "train")
    back = sides(pd.Series(names[::-1]), np.arange(6))
    assert back.tolist() == alone.tolist()[::-1]  # the order of the rows has no part in it
    for other in range(6):
        part = pd.Series([names[first], names[other]])
        expected = ["train", "train"] if other == first else ["train", alone[other]]
        assert sides(part, np.arange(2)).tolist() == expected
    tied = np.arange(6)
    tied[(first + 1) % 6] = tied[first]
    together = sides(pd.Series(names), tied)
    assert together[first] == together[(first + 1) % 6] == "train"
    assert (together == "train").sum() == 2


def test_a_video_without_a_usable_clip_is_not_what_trains() -> None:
    names = ["stays", *held_out([f"w{k}" for k in range(60)], 1)]
    names[0] = next(n for n in map(str, range(99)) if not held_out([n], 1))
    args = {"validation_fraction": 0.1, "test_fraction": 0.2}
    both = assign_splits(pd.Series(names), np.arange(2), **args)
    assert both[0] == "train"
    assert both[1] != "train"
    rest = assign_splits(pd.Series(names), np.arange(2), **args, usable=np.array([False, True]))
    assert rest.tolist() == ["train", "train"]


@pytest.mark.parametrize(("share", "is_said"), [(0.01, True), (0.0, False)])
def test_a_few_videos_all_drawn_for_training_are_told(caplog, share: float, is_said: bool) -> None:
    split = assign_splits(
        pd.Series(["a", "b"]), OWN[:2], validation_fraction=share, test_fraction=0.0
    )
    assert set(split) == {"train"}
    assert ("none of 2 source videos was drawn for validation" in caplog.text) == is_said
