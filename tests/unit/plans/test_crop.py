"""What buckets crop away, from a config to the table, the summary and the clips left out."""

import pandas as pd
import pytest

from opensora.core.errors import ConfigError
from opensora.plans.figures import summary_table
from opensora.plans.stage_plan import plan_training
from opensora.plans.validation_plan import plan_validation

CONFIG = {"bucket_config": {"480p": {16: (1.0, 4)}}, "epochs": 1, "seed": 1}


def banners(split: str = "train") -> pd.DataFrame:
    """20 films of 480 x 854, 20 banners of 400 x 4000 and 20 columns of 3000 x 480."""
    sizes = {"film": (480, 854), "banner": (400, 4000), "column": (3000, 480)}
    rows = [(f"{name}{k}", 64, *size) for name, size in sizes.items() for k in range(20)]
    frame = pd.DataFrame(rows, columns=["id", "num_frames", "height", "width"])
    return frame.assign(split=split)


def test_the_share_that_a_banner_loses_is_told():
    summary = plan_training(banners(), CONFIG).summary
    cropped = {name: row["cropped"] for name, row in summary["buckets"].items()}
    assert cropped == {
        "480p|16|0.38": pytest.approx(1 - 0.1 / (392 / 1046), abs=1e-6),  # 73 %
        "480p|16|0.56": pytest.approx(0, abs=1e-6),
        "480p|16|2.08": pytest.approx(1 - (924 / 444) / 6.25, abs=1e-6),
    }
    assert f"{cropped['480p|16|0.38']:.2f}" == "0.73"
    header, _, row = summary_table(summary).splitlines()[:3]
    assert header.split()[-1] == "cropped"
    assert row.endswith(f"{100 * sum(cropped.values()) / 3:.1f} %")


def test_clips_that_join_a_neighbour_lose_what_they_lose_there():
    few = banners().iloc[[*range(4), 20, 40]]
    config = {**CONFIG, "bucket_config": {"480x480": {16: (1.0, 4)}}}
    (row,) = plan_training(few, config).summary["buckets"].values()
    lost = 4 * (1 - 480 / 854) + (1 - 0.1) + (1 - 480 / 3000)
    assert row["cropped"] == pytest.approx(lost / 6, abs=1e-6)
    wide = pd.DataFrame(
        [(f"s{k}", 16, 32, 32) for k in range(7)] + [("w", 16, 24, 40)],
        columns=["id", "num_frames", "height", "width"],
    )
    made = plan_training(wide, {**CONFIG, "bucket_config": {"32px": {16: (1.0, 4)}}})
    assert made.summary["buckets"]["32px|16|1.00"]["cropped"] == pytest.approx(0.4 / 8)


def test_max_crop_leaves_out_what_loses_more():
    made = plan_training(banners(), {**CONFIG, "max_crop": 0.7})
    left_out = made.left_out()
    assert set(left_out["id"]) == {f"banner{k}" for k in range(20)}
    assert set(left_out["reason"]) == {"too_much_crop"}
    assert made.summary["dropped"] == {"too_much_crop": 20}
    assert "too_much_crop" in summary_table(made.summary)


def test_a_clip_cut_too_much_in_any_epoch_is_not_left_to_the_draw():
    config = {**CONFIG, "bucket_config": {"480p": {16: (0.5, 4)}}, "epochs": 30, "max_crop": 0.5}
    left_out = plan_training(banners(), config).left_out()
    assert set(left_out["reason"]) == {"too_much_crop"}
    assert len(left_out) == 40


def test_without_it_the_plan_is_the_one_of_before():
    before = "217f906c8e56a2455055d3562c3cebf6403dc455db97545ea8c9fb76a59ca0c0"
    buckets = {"480p": {16: (0.6, 4)}, "144p": {16: ((1.0, 0.5), 3)}}
    config = {"bucket_config": buckets, "epochs": 3, "seed": 1}
    for more in ({}, {"max_crop": None}, {"max_crop": 1}, {"max_crop": 0.74}):
        assert plan_training(banners(), {**config, **more}).plan.attrs["hash"] == before, more


def test_validation_keeps_to_it():
    for most, count in ((None, 60), (0.7, 40), (0.1, 20)):
        plan = plan_validation(banners("validation"), {**CONFIG, "max_crop": most})
        assert sum(map(len, plan["ids"])) == count


def test_no_clip_left_or_a_bad_value_are_one_sentence():
    only = banners().iloc[20:40]
    with pytest.raises(ConfigError, match=r"too_much_crop 20\); raise max_crop, add smaller"):
        plan_training(only, {**CONFIG, "max_crop": 0.2})
    with pytest.raises(ConfigError, match="max_crop is 30; expected a share from 0 to 1"):
        plan_training(only, {**CONFIG, "max_crop": 30})
