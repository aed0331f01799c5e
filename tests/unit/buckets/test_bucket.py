import math

import numpy as np
import pandas as pd
import pytest

from opensora.buckets.bucket import Bucket, assign_buckets, parse_bucket_config

CONFIGS = ("given", "images_only", "videos_mixed", "single", "dense")


def clips(**columns) -> pd.DataFrame:
    frame = pd.DataFrame({"num_frames": 16, "height": 40, "width": 40, **columns})
    return frame.assign(id=columns.get("id", [f"c{i}" for i in range(len(frame))]))


def names(assignment: pd.DataFrame) -> np.ndarray:
    columns = ("bucket_resolution", "bucket_frames", "bucket_aspect_ratio")
    resolutions, frames, ratios = (assignment[name].astype(str) for name in columns)
    text = resolutions + "|" + frames + "|" + ratios
    return text.where(assignment["reason"] == "", "").to_numpy(dtype=object)


@pytest.fixture(scope="module")
def table(reference_folder) -> pd.DataFrame:
    frame = pd.read_csv(reference_folder / "buckets.csv", keep_default_na=False)
    renamed = frame.rename(columns={"T": "num_frames", "H": "height", "W": "width", "idx": "id"})
    return renamed.astype({"id": str})


@pytest.mark.parametrize("name", CONFIGS)
def test_buckets_equal_the_reference_except_for_exactly_filled_ones(reference, table, name):
    config = reference("buckets")["configs"][name]
    lengths = {int(t) for entry in config.values() for t in entry if int(t) > 1}
    for interval, rows in table.groupby("frame_interval"):
        found = assign_buckets(rows, config, seed=3, frame_interval=int(interval))
        wanted = rows[f"{name}:bucket"].to_numpy(dtype=object)
        # the reference wants more than num_frames * interval frames, we want as many
        filled = rows["num_frames"].isin([t * interval for t in lengths]).to_numpy()
        np.testing.assert_array_equal(names(found)[~filled], wanted[~filled])
        longer = rows.assign(num_frames=rows["num_frames"] + filled)
        again = assign_buckets(longer, config, seed=3, frame_interval=int(interval))
        np.testing.assert_array_equal(names(found)[filled], names(again)[filled])
        same = (names(found) == wanted) & (wanted != "")
        for column, ours in (("h", "bucket_height"), ("w", "bucket_width")):
            sizes = rows[f"{name}:{column}"].to_numpy()[same].astype(int)
            np.testing.assert_array_equal(found[ours].to_numpy()[same], sizes)


@pytest.mark.parametrize("name", CONFIGS)
def test_rules_are_tried_in_the_order_of_the_reference(reference, name):
    buckets = reference("buckets")
    order: dict[str, list[int]] = {}
    for rule in parse_bucket_config(buckets["configs"][name]):
        order.setdefault(rule.resolution, []).append(rule.num_frames)
    assert list(order.items()) == list(buckets["bucket_order"][name].items())


@pytest.mark.parametrize(
    ("num_frames", "expected"), [(2, 0), (15, 0), (16, 16), (47, 16), (48, 48), (1, 1)]
)
def test_a_clip_goes_to_the_longest_bucket_it_fills(num_frames, expected):
    config = {"32px": {1: (1.0, 2), 16: (1.0, 2), 48: (1.0, 2)}}
    found = assign_buckets(clips(num_frames=[num_frames]), config, seed=0)
    assert found["bucket_frames"].tolist() == [expected]


def test_draws_have_the_expected_shares_of_the_reference(reference):
    fractional = reference("buckets")["fractional"]
    draws = 20_000
    for video in fractional["videos"]:
        rows = clips(
            id=[f"v{i}" for i in range(draws)],
            num_frames=video["T"],
            height=video["H"],
            width=video["W"],
        )
        exact = {int(t) * video["frame_interval"] for e in fractional["config"].values() for t in e}
        if video["T"] in exact and video["T"] > 1:
            continue  # the deliberate difference
        interval = video["frame_interval"]
        found = assign_buckets(rows, fractional["config"], seed=11, frame_interval=interval)
        counts = pd.Series(names(found)).value_counts()
        assert set(counts.index) - {""} == {o["bucket"] for o in video["outcome"] if o["bucket"]}
        for outcome in video["outcome"]:
            share = counts.get(outcome["bucket"] or "", 0) / draws
            assert share == pytest.approx(outcome["expected"], abs=outcome["tol_4sigma"] + 1e-4)


def test_pairs_of_probabilities_have_the_shares_of_the_reference(reference):
    golden = reference("aspects")["tuple_keep_prob"]
    for video in golden["videos"]:
        rows = clips(
            id=[f"v{i}" for i in range(20_000)],
            num_frames=video["T"],
            height=video["H"],
            width=video["W"],
        )
        found = pd.Series(names(assign_buckets(rows, golden["config"], seed=5))).value_counts()
        assert set(found.index) == set(video["frequency"])
        for bucket, frequency in video["frequency"].items():
            # both are means of 20 000 draws: 5 sigma of their difference
            sigma = math.sqrt(2 * frequency * (1 - frequency) / 20_000)
            assert found[bucket] / 20_000 == pytest.approx(frequency, abs=5 * sigma)


def test_a_draw_depends_on_seed_epoch_and_id_alone():
    config = {"32px": {16: (0.5, 2)}}
    rows = clips(id=[f"v{i}" for i in range(200)])
    found = assign_buckets(rows, config, seed=1).set_index("id")
    part = assign_buckets(rows.sample(50, random_state=0), config, seed=1).set_index("id")
    pd.testing.assert_frame_equal(found.loc[part.index], part)
    for other in ({"seed": 2}, {"seed": 1, "epoch": 1}):
        changed = assign_buckets(rows, config, **other)["reason"].to_numpy()
        share = (changed == found["reason"].to_numpy()).mean()
        assert 0.3 < share < 0.7  # independent coins agree half of the time


def test_draws_of_two_buckets_are_independent():
    # if both questions used one number, no clip would fail 48px and then pass 32px
    config = {"48px": {16: (0.5, 2)}, "32px": {16: (0.5, 2)}}
    rows = clips(id=[f"v{i}" for i in range(4000)], height=60, width=60)
    shares = assign_buckets(rows, config, seed=1)["bucket_resolution"].value_counts() / 4000
    assert shares["48px"] == pytest.approx(0.5, abs=0.04)
    assert shares["32px"] == pytest.approx(0.25, abs=0.04)


def test_every_unplaced_clip_says_why():
    rows = clips(num_frames=[16, 8, 1, 16], height=[10, 40, 40, 40], width=[10, 40, 40, 40])
    found = assign_buckets(rows, {"32px": {16: (1.0, 1)}}, seed=0)
    assert found["reason"].tolist() == ["too_small", "too_short", "no_image_bucket", ""]
    only_images = assign_buckets(rows, {"32px": {1: (1.0, 1)}}, seed=0)
    assert only_images["reason"].tolist() == ["too_small", "no_video_bucket", "", "no_video_bucket"]
    never = assign_buckets(rows, {"32px": {16: (0.0, None)}}, seed=0)
    assert never["reason"].tolist()[3] == "not_kept"


def test_four_fifths_of_the_pixels_are_enough():
    # 0.8 * 1024 = 819.2: 20 x 41 = 820 is enough, 20 x 40 = 800 is not
    rows = clips(height=[20, 20], width=[41, 40])
    found = assign_buckets(rows, {"32px": {16: (1.0, 1)}}, seed=0)
    assert found["reason"].tolist() == ["", "too_small"]


def test_an_empty_table_gives_an_empty_assignment():
    rows = clips(id=[]).iloc[:0]
    assert len(assign_buckets(rows, {"32px": {16: (0.5, 1)}}, seed=0)) == 0


def test_a_bucket_survives_its_text_form():
    bucket = Bucket("32px", 16, "0.60")
    assert str(bucket) == "32px|16|0.60"
    assert Bucket.parse(str(bucket)) == bucket
    assert bucket.size == (24, 40)


def test_a_bucket_of_an_exact_size_survives_its_text_form():
    bucket = Bucket.parse("256x384|16|0.67")
    assert bucket.size == (256, 384)
    assert str(bucket) == "256x384|16|0.67"
    assert not bucket.is_image
    assert Bucket("256x384", 1, "0.67").is_image
