import pandas as pd
import pytest

from opensora.core.errors import ConfigError
from opensora.datasets.planning import plan_training


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
    assert summary["warnings"] == ["32px|16|0.60: 2 clips moved to 32px|16|1.00 to fill a batch"]


def test_validation_clips_are_never_trained():
    made = plan_training(manifest(), CONFIG)
    assert "v12" not in set(made.plan["ids"].explode())
    assert "v12" not in set(made.assignment["id"])


def test_a_clip_that_can_not_fill_a_batch_is_warned_about():
    config = {**CONFIG, "bucket_config": {"32px": {16: (1.0, 4), 4: (1.0, 4)}}}
    summary = plan_training(manifest(), config).summary
    assert summary["dropped"]["too_few_for_a_batch"] == 1
    assert any("32px|4|1.00: 1 clips dropped" in warning for warning in summary["warnings"])
    assert any("no clip is trained in ('32px', 4)" in w for w in summary["warnings"])


def test_too_many_steps_for_the_plan_names_the_epochs_needed():
    summary = plan_training(manifest(), {**CONFIG, "num_steps": 11}).summary
    assert any("raise epochs to 6" in warning for warning in summary["warnings"])  # 6 * 2 >= 11


def test_random_buckets_differ_between_epochs():
    config = {**CONFIG, "bucket_config": {"32px": {16: (0.5, 1)}}, "epochs": 4}
    plan = plan_training(manifest(), config).plan
    sets = plan.explode("ids").groupby("epoch")["ids"].agg(frozenset)
    assert sets.nunique() > 1


@pytest.mark.parametrize("change", [{"bucket_config": None}, {"epochs": 0}, {"frame_interval": 0}])
def test_fields_that_can_not_be_meant_are_refused(change):
    with pytest.raises(ConfigError):
        plan_training(manifest(), {**CONFIG, **change})
