import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensora.buckets.assignment import BucketLookup
from opensora.buckets.bucket import assign_buckets
from opensora.buckets.bucket_config import parse_bucket_config
from opensora.buckets.crop import check_max_crop, cut_share
from opensora.core.errors import ConfigError

CONFIGS = [
    {"48px": {16: (0.5, 4), 1: (1.0, 2)}, "40x30": {8: (0.7, 2)}},
    {
        "256": {16: (1.0, 4), 1: (1.0, 2)},
        "144p": {16: (0.6, 4), 8: (1.0, 2)},
        "24px": {8: (1.0, 3)},
    },
]


def clip_table(rows) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["num_frames", "height", "width"])
    return frame.assign(id=[f"clip{i}" for i in range(len(frame))])


def cuts(clips: pd.DataFrame, found: pd.DataFrame) -> np.ndarray:
    """Share cut away by the buckets found; nan where there is none."""
    sizes = (found[f"bucket_{side}"].replace(0, np.nan) for side in ("height", "width"))
    return cut_share(clips["height"], clips["width"], *sizes)


@given(
    st.sampled_from(CONFIGS),
    st.lists(st.tuples(st.integers(1, 30), st.integers(8, 500), st.integers(8, 500)), min_size=1),
    st.sampled_from([0.0, 0.05, 0.25, 1 / 3, 0.5, 0.99]),
    st.integers(0, 9),
)
@settings(max_examples=150)
def test_exactly_the_clips_that_lose_more_are_left_out(config, rows, most, seed):
    clips = clip_table(rows)
    before = assign_buckets(clips, config, seed=seed)
    found = assign_buckets(clips, config, seed=seed, max_crop=most)
    is_cut = (cuts(clips, before) > most + 1e-8).to_numpy()
    assert (found["reason"] == "too_much_crop").tolist() == is_cut.tolist()
    pd.testing.assert_frame_equal(found[~is_cut], before[~is_cut])
    assert not found.loc[is_cut, ["bucket_frames", "bucket_height", "bucket_width"]].any(axis=None)
    assert (found.loc[is_cut, ["bucket_resolution", "bucket_aspect_ratio"]] == "").all(axis=None)


def test_a_clip_that_loses_just_the_limit_is_kept():
    clips = clip_table([(16, 30, 40), (16, 40, 30), (16, 29, 40), (16, 40, 29)])
    found = assign_buckets(clips, {"32x32": {16: (1.0, 1)}}, seed=0, max_crop=0.25)
    assert found["reason"].tolist() == ["", "", "too_much_crop", "too_much_crop"]


def test_expected_clips_are_those_that_are_not_cut():
    clips = clip_table([(16, 400, 4000)] * 5 + [(16, 480, 854)] * 7)
    arrays = [clips[name].to_numpy() for name in ("num_frames", "height", "width")]
    rules = parse_bucket_config({"480p": {16: (1.0, 2)}})
    found = BucketLookup(rules, max_crop=0.5).expected_clips(*arrays, epochs=1)
    assert found == {("480p", 16, "0.56"): 7.0}
    assert sum(BucketLookup(rules).expected_clips(*arrays, epochs=1).values()) == 12.0


@pytest.mark.parametrize("value", [-0.1, 1.1, 30, "0.3", True, float("nan"), [0.3]])
def test_what_is_no_share_is_one_sentence(value):
    with pytest.raises(ConfigError, match=r"^max_crop is .*; expected a share from 0 to 1"):
        check_max_crop(value)


def test_none_and_everything_are_no_limit():
    assert [check_max_crop(value) for value in (None, 1, 1.0, 0, 0.3)] == [None, None, None, 0, 0.3]
