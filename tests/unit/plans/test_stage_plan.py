import pandas as pd
import pytest

from opensora.buckets.bucket import Bucket, TokenGrid
from opensora.core.errors import ConfigError, TableError
from opensora.plans.budget.cost import model_cost
from opensora.plans.stage_plan import (
    EpochAssignments,
    bucket_config_of,
    frame_interval_of,
    plan_training,
    token_grid,
    training_clips,
)


def manifest() -> pd.DataFrame:
    # 9 square clips of 16 frames, 2 wide ones, 1 too short, 1 of the validation split
    rows = [("s", 16, 32, 32)] * 9 + [("w", 16, 24, 40)] * 2 + [("t", 4, 32, 32)]
    rows += [("v", 16, 32, 32)]
    frame = pd.DataFrame(rows, columns=["id", "num_frames", "height", "width"])
    frame["split"] = ["train"] * 12 + ["validation"]
    return frame.assign(id=[f"{name}{i}" for i, name in enumerate(frame["id"])])


CONFIG = {
    "bucket_config": {"32px": {16: (1.0, 4)}},
    "epochs": 3,
    "seed": 1,
    "model": {"patch_size": (1, 1, 1)},
}


def test_the_summary_accounts_for_every_clip():
    made = plan_training(manifest(), CONFIG, vae_stride=(1, 4, 4))
    summary = made.summary
    bucket = summary["buckets"]["32px|16|1.00"]
    assert bucket["samples"] == 11  # the two wide ones joined
    assert bucket["batches"] == 2
    assert bucket["tokens_per_sample"] == 16 * 8 * 8
    assert summary["dropped"] == {"too_short": 1, "remainder": 3}
    totals = summary["totals"]
    assert totals["clips"] == 12  # the validation clip is not counted
    assert totals["steps"] == totals["micro_batches"] == 6
    assert totals["samples"] == 24
    assert totals["tokens"] == 24 * 16 * 8 * 8
    kept = totals["batches_first_epoch"] * 4
    assert kept + sum(summary["dropped"].values()) == totals["clips"]
    assert summary["warnings"] == [
        "32px|16|0.60: batch_size 4 exceeds its 2 clips: they join 32px|16|1.00; lower batch_size"
        " to 2 to train them as they are"
    ]


def test_validation_clips_are_never_trained():
    made = plan_training(manifest(), CONFIG)
    assert "v12" not in set(made.plan["ids"].explode())
    assert "v12" not in set(training_clips(manifest())["id"])


def test_a_clip_that_can_not_fill_a_batch_is_warned_about():
    config = {**CONFIG, "bucket_config": {"32px": {16: (1.0, 4), 4: (1.0, 4)}}}
    summary = plan_training(manifest(), config).summary
    assert summary["dropped"]["too_few_for_a_batch"] == 1
    assert (
        "32px|4|1.00: batch_size 4 exceeds its 1 clip and it has no neighbour to join: they are"
        " dropped; lower batch_size to 1, or set drop_last = False" in summary["warnings"]
    )
    assert any("no clip is trained in bucket 32px|4" in w for w in summary["warnings"])


def test_random_buckets_differ_between_epochs():
    config = {**CONFIG, "bucket_config": {"32px": {16: (0.5, 1)}}, "epochs": 4}
    plan = plan_training(manifest(), config).plan
    sets = plan.explode("ids").groupby("epoch")["ids"].agg(frozenset)
    assert sets.nunique() > 1


def test_without_drop_last_the_last_batches_are_smaller_and_nothing_is_dropped():
    config = {**CONFIG, "drop_last": False, "bucket_config": {"32px": {16: (1.0, 4), 4: (1.0, 4)}}}
    made = plan_training(manifest(), config, vae_stride=(1, 4, 4))
    summary = made.summary
    assert summary["dropped"] == {}
    assert {name: row["batches"] for name, row in summary["buckets"].items()} == {
        "32px|16|1.00": 3,  # 4 + 4 + 3 clips
        "32px|4|1.00": 1,
    }
    assert sorted(map(len, made.plan.loc[made.plan["epoch"] == 0, "ids"])) == [1, 3, 4, 4]
    assert summary["totals"]["samples"] == 3 * 12
    assert summary["totals"]["tokens"] == 3 * (11 * 16 + 1 * 4) * 64
    assert any("which are one smaller batch; lower it to 1" in w for w in summary["warnings"])


def test_a_wanted_number_of_steps_ends_the_plan():
    made = plan_training(manifest(), {**CONFIG, "epochs": 1000, "num_steps": 5})
    assert made.summary["totals"]["epochs"] == 3  # of 2 batches each
    assert made.summary["totals"]["steps"] == 6
    assert len(made.summary["warnings"]) == 1  # the one about back-off


def test_steps_that_no_epoch_holds_are_refused_with_the_epochs_needed():
    config = {**CONFIG, "num_steps": 9}  # 2 batches an epoch, 3 epochs
    with pytest.raises(ConfigError, match=r"num_steps is 9 and 3 epochs .* hold 6 steps") as error:
        plan_training(manifest(), config)
    assert "set epochs to 5, or num_steps to 6 or less" in str(error.value)
    assert len(plan_training(manifest(), {**config, "epochs": 5}).plan) == 10
    with pytest.raises(ConfigError, match="hold 3 steps of 2 processes: set epochs to 9"):
        plan_training(manifest(), config, world_size=2)


def test_a_few_batches_are_spare_where_epochs_have_them():
    made = plan_training(manifest(), {**CONFIG, "epochs": 1000, "num_steps": 40})
    assert made.summary["totals"]["steps"] == 42
    assert len(plan_training(manifest(), {**CONFIG, "epochs": 20, "num_steps": 40}).plan) == 40


def test_long_plans_are_compiled_to_their_end():
    made = plan_training(manifest(), {**CONFIG, "epochs": 1000})
    assert made.summary["totals"]["epochs"] == 1000
    assert made.summary["totals"]["samples"] == 8000


def test_more_clips_than_int32_counts_are_refused_before_they_are_compiled(monkeypatch):
    monkeypatch.setattr("opensora.plans.compile.MOST_CLIPS", 30)  # 8 clips an epoch
    with pytest.raises(ConfigError, match="8 clips an epoch make 40 in 5 epochs") as error:
        plan_training(manifest(), {**CONFIG, "epochs": 5})
    assert "set epochs to 3 or less, or num_steps" in str(error.value)
    assert len(plan_training(manifest(), {**CONFIG, "epochs": 3}).plan) == 6
    assert len(plan_training(manifest(), {**CONFIG, "epochs": 5, "num_steps": 5}).plan) == 6


def test_a_balanced_plan_orders_the_same_batches_by_cost():
    rows = pd.concat([manifest().assign(id=lambda t, k=k: t["id"] + f"-{k}") for k in range(8)])
    config = {**CONFIG, "bucket_config": {"32px": {16: (1.0, 2), 4: (1.0, 2)}}, "epochs": 1}
    plain = plan_training(rows, config, world_size=4)
    balanced = plan_training(rows, {**config, "balance": "cost"}, world_size=4)
    assert balanced.settings["balance"] == "cost"
    assert set(map(tuple, balanced.plan["ids"])) <= set(map(tuple, plain.plan["ids"]))
    frames = balanced.plan["bucket"].str.split("|").str[1].to_numpy().reshape(-1, 4)
    mixed = [len(set(step)) > 1 for step in frames.tolist()]
    assert sum(mixed) <= 1


FIXED = {"num_frames": 16, "frame_interval": 2, "image_size": (24, 40), "batch_size": 2}


@pytest.mark.parametrize("config", [FIXED, {"dataset": FIXED}, {**FIXED, "dataset": FIXED}])
def test_a_config_of_one_size_is_one_bucket(config):
    rows = [("a", 32, 8, 8), ("b", 31, 90, 90), ("c", 90, 24, 40), ("d", 1, 24, 40)]
    table = pd.DataFrame(rows, columns=["id", "num_frames", "height", "width"])
    made = plan_training(table, config)
    assert made.plan["bucket"].tolist() == ["24x40|16|0.60"]
    assert sorted(made.plan["ids"].iloc[0]) == ["a", "c"]
    first_epoch = EpochAssignments(table, config)[0]
    assert first_epoch["reason"].tolist() == ["", "too_short", "", "no_image_bucket"]
    assert made.settings["frame_interval"] == 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "num_frames is missing"),
        ({"num_frames": 16, "batch_size": 2}, "image_size is missing"),
        ({**FIXED, "image_size": 256}, "image_size is 256; expected"),
        ({**FIXED, "image_size": (256, 0)}, "expected \\(height, width\\)"),
        ({**FIXED, "num_frames": 0}, "num_frames must be at least 1"),
        ({**FIXED, "batch_size": 0}, "batch_size must be a positive integer"),
        ({**CONFIG, "image_size": (24, 40)}, "bucket_config and image_size are both set"),
        ({**CONFIG, "dataset": {"num_frames": 16}}, "bucket_config and num_frames are both"),
        ({**FIXED, "dataset": {"num_frames": 8}}, "num_frames is 16 and dataset.num_frames is 8"),
        ({**CONFIG, "frame_interval": 0}, "frame_interval is 0"),
        ({**CONFIG, "epochs": 0}, "epochs is 0"),
        ({**CONFIG, "epochs": 1.5}, "epochs is 1.5"),
        ({**CONFIG, "balance": "time"}, "balance is 'time'"),
        ({**CONFIG, "drop_last": "no"}, "drop_last is 'no'"),
        ({**CONFIG, "bucket_config": {"32px": {16: (1.0, (2, 4))}}}, "search-batch-size"),
    ],
)
def test_fields_that_can_not_be_meant_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        plan_training(manifest(), config)


def test_a_batch_size_beside_buckets_is_said_to_have_no_effect():
    summary = plan_training(manifest(), {**CONFIG, "batch_size": 10}).summary
    assert "batch_size has no effect: bucket_config says it per bucket" in summary["warnings"]


def test_any_size_may_be_written_as_the_reference_does():
    dataset = {"num_frames": None, "image_size": (None, None), "frame_interval": 3}
    config = {**CONFIG, "dataset": dataset, "batch_size": None}
    assert bucket_config_of(config) == CONFIG["bucket_config"]
    assert frame_interval_of(config) == 3


@pytest.mark.parametrize("kind", ["STDiT-XL/2", "DiT-XL/2x2", "STDiT2"])
def test_the_patch_of_a_model_is_known_without_building_it(kind):
    config = {"model": {"type": kind}}
    assert token_grid(config).patch_size == model_cost(config).patch_size
    config["model"]["patch_size"] = (1, 4, 4)
    assert token_grid(config).patch_size == (1, 4, 4)


def test_tokens_count_whole_latents_and_filled_up_patches():
    # 0.48 at 144p is 133 x 277 pixels: 16 x 34 latent values (rounded down), 8 x 17 patches
    assert TokenGrid().latent_size(Bucket("144p", 16, "0.48")) == (16, 16, 34)
    assert TokenGrid().tokens(Bucket("144p", 16, "0.48")) == 16 * 8 * 17
    # 117 pixels are 14 values; patches of 4 fill up to 4
    grid = TokenGrid((4, 8, 8), (1, 4, 4))
    assert grid.token_grid(Bucket("144p", 1, "0.38")) == (1, 4, 10)
    assert grid.token_size == (4, 32, 32)


def test_assignments_of_all_epochs_are_made_when_asked_for():
    config = {**CONFIG, "bucket_config": {"32px": {16: (0.5, 1)}}, "epochs": 4}
    epochs = EpochAssignments(training_clips(manifest()), config)
    assert len(epochs) == 4
    assert epochs[0] is epochs[0]
    reasons = [table["reason"].tolist() for table in epochs]
    assert len({tuple(reason) for reason in reasons}) > 1
    assert [len(part) for part in epochs[1:3]] == [12, 12]
    with pytest.raises(IndexError):
        epochs[4]


def test_where_no_clip_is_of_the_training_split_that_is_said_and_not_sizes():
    with pytest.raises(
        TableError, match=r"none of \d+ clips is of split 'train' \(validation \d+"
    ) as e:
        training_clips(manifest().assign(split="validation"))
    assert "set validation_fraction and test_fraction to 0" in str(e.value)
    with pytest.raises(TableError, match="it holds no clip"):
        training_clips(manifest().iloc[:0])
