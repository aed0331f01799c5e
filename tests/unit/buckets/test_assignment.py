import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensora.bench.buckets import loop_over_rows
from opensora.buckets.aspect import RESOLUTIONS, closest_ratio, fixed_size, ratio_steps
from opensora.buckets.assignment import BucketLookup
from opensora.buckets.bucket import assign_buckets
from opensora.buckets.bucket_config import parse_bucket_config

chances = st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0])
entries = st.one_of(
    st.tuples(chances, st.just(2)), st.tuples(st.tuples(chances, chances), st.just(2))
)
lengths = st.dictionaries(st.sampled_from([8, 16, 24]), entries, min_size=1)
images = st.dictionaries(st.just(1), st.tuples(chances, st.just(2)))
configs = st.dictionaries(
    st.sampled_from(["24px", "32px", "48px", "144p", "256", "40x30"]),
    st.builds(lambda a, b: {**a, **b}, lengths, images),
    min_size=1,
)


def clip_table(rows) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["num_frames", "height", "width"])
    return frame.assign(id=[f"clip{i}" for i in range(len(frame))])


@given(
    configs,
    st.lists(
        st.tuples(st.integers(1, 60), st.integers(8, 400), st.integers(8, 400)),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 3),
    st.integers(0, 5),
)
@settings(max_examples=150)
def test_the_table_chooses_what_a_loop_over_rows_chooses(config, rows, interval, seed):
    clips = clip_table(rows)
    found = assign_buckets(clips, config, seed=seed, frame_interval=interval)
    names = ("resolution", "frames", "aspect_ratio", "height", "width")
    ours = zip(*(found[f"bucket_{name}"].tolist() for name in names), strict=True)
    theirs = loop_over_rows(clips, config, seed=seed, frame_interval=interval)
    assert list(ours) == theirs
    assert ((found["reason"] == "") == (found["bucket_frames"] > 0)).all()


@pytest.mark.parametrize("name", RESOLUTIONS)
def test_intervals_of_ratios_are_those_of_the_nearest_ratio(name):
    table = RESOLUTIONS[name]
    steps = ratio_steps(table)
    assert sorted(key for _, key in steps) == sorted(table.sizes)
    for start, key in steps[1:]:
        # exactly at a step the answer changes; closest_ratio takes height and width
        assert closest_ratio(name, start, 1.0) == key
        assert closest_ratio(name, np.nextafter(start, 0), 1.0) != key


def test_shares_of_two_lengths_and_two_resolutions():
    # 48px: 16 frames meant with 1/2 and kept with 1/2, else 8 frames kept always
    config = {"48px": {16: ((0.5, 0.5), 1), 8: (1.0, 1)}, "32px": {8: (0.5, 1)}}
    clips = clip_table([(16, 60, 60)] * 20_000)
    found = assign_buckets(clips, config, seed=2)
    texts = found["bucket_resolution"].astype(str) + "|" + found["bucket_frames"].astype(str)
    shares = texts.value_counts(normalize=True)
    # 1/4 stay at 16 frames, 1/2 at 8 frames; of the quarter that leaves, half stays at 32px
    expected = {"48px|16": 0.25, "48px|8": 0.5, "32px|8": 0.125, "|0": 0.125}
    assert set(shares.index) == set(expected)
    for name, share in expected.items():
        assert shares[name] == pytest.approx(share, abs=5 * (share * (1 - share) / 20_000) ** 0.5)
    assert set(found.loc[texts == "|0", "reason"]) == {"not_kept"}


def expected_clips(config, clips, epochs):
    table = BucketLookup(parse_bucket_config(config))
    columns = (clips[name].to_numpy() for name in ("num_frames", "height", "width"))
    frames, height, width = columns
    return table.expected_clips(frames, height, width, epochs)


def test_the_expected_number_of_clips_of_each_bucket():
    config = {"48px": {8: (0.5, 1)}, "32px": {8: (0.5, 1), 1: (1.0, 1)}}
    clips = clip_table([(8, 60, 60)] * 10 + [(8, 32, 32)] * 4 + [(1, 36, 60)] + [(4, 60, 60)])
    once = expected_clips(config, clips, 1)
    assert once == {
        ("48px", 8, "1.00"): 5.0,
        ("32px", 8, "1.00"): 10 * 0.25 + 4 * 0.5,
        ("32px", 1, "0.60"): 1.0,
    }
    twice = expected_clips(config, clips, 2)
    assert twice["48px", 8, "1.00"] == pytest.approx(10 * 0.75)
    assert twice["32px", 8, "1.00"] == pytest.approx(10 * (1 - 0.75**2) + 4 * 0.75)


def test_expected_clips_are_those_of_many_assignments():
    config = {"48px": {16: ((0.5, 0.5), 1), 8: (0.7, 1)}, "32px": {8: (0.5, 1)}}
    clips = clip_table([(16, 60, 60)] * 3000 + [(8, 32, 50)] * 1000)
    seen = [assign_buckets(clips, config, seed=1, epoch=epoch) for epoch in range(3)]
    pairs = pd.concat(seen)[["id", "bucket_resolution", "bucket_frames", "bucket_aspect_ratio"]]
    counts = pairs.drop_duplicates().groupby(list(pairs.columns[1:]), observed=True).size()
    expected = expected_clips(config, clips, 3)
    for key, count in expected.items():
        assert counts[key] == pytest.approx(count, abs=5 * count**0.5)


def test_a_random_config_needs_draws():
    table = BucketLookup(parse_bucket_config({"32px": {8: (0.5, 1)}}))
    with pytest.raises(ValueError, match="draws are needed"):
        table.choose(np.array([8]), np.array([32]), np.array([32]))


def test_an_exact_size_takes_every_clip_that_is_long_enough():
    config = {"40x30": {8: (1.0, 1)}}
    clips = clip_table([(8, 4, 4), (100, 2000, 100), (7, 40, 30), (1, 40, 30)])
    found = assign_buckets(clips, config, seed=0)
    assert found["reason"].tolist() == ["", "", "too_short", "no_image_bucket"]
    assert found["bucket_aspect_ratio"].tolist()[:2] == ["1.33", "1.33"]  # 40 / 30
    assert found[["bucket_height", "bucket_width"]].to_numpy()[0].tolist() == [40, 30]
    assert assign_buckets(clips, config, seed=0, frame_interval=2)["reason"].tolist() == [
        *("too_short", "", "too_short", "no_image_bucket"),
    ]


def test_an_exact_size_of_one_frame_takes_images_and_videos():
    found = assign_buckets(
        clip_table([(1, 4, 4), (2, 90, 90)]), {"40x30": {1: (1.0, 1)}}, seed=0, frame_interval=3
    )
    assert found["bucket_frames"].tolist() == [1, 1]
    assert fixed_size(40, 30).min_pixels == 0
