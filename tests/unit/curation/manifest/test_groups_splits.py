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
