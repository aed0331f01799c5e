import numpy as np
import pandas as pd
import pytest

from opensora.plans.left_out import left_out
from opensora.plans.stage_plan import plan_training


def clips(*rows: tuple[str, int, int, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["id", "num_frames", "height", "width"])


CLIPS = clips(
    *((f"s{k}", 16, 32, 32) for k in range(5)),  # a batch of four
    ("few", 4, 32, 32),
    ("short", 2, 32, 32),
    ("small", 16, 8, 8),
    ("image", 1, 32, 32),
)
CONFIG = {"bucket_config": {"32px": {16: (1.0, 4), 4: (1.0, 3)}}, "epochs": 1, "seed": 1}


def test_each_clip_in_no_batch_has_its_reason():
    made = plan_training(CLIPS, CONFIG)
    found = dict(made.left_out().itertuples(index=False, name=None))
    (rest,) = set(CLIPS["id"][:5]) - set(made.plan["ids"].iloc[0])
    assert found == {
        **{rest: "remainder", "few": "too_few_for_a_batch", "short": "too_short"},
        **{"small": "too_small", "image": "no_image_bucket"},
    }
    counts = made.summary["dropped"]  # of one epoch, so both tell the same
    assert counts == pd.Series(found).value_counts().to_dict()


def test_clips_of_any_epoch_are_not_left_out():
    made = plan_training(CLIPS, {**CONFIG, "epochs": 30})
    assert "remainder" not in set(made.left_out()["reason"])
    assert len(made.left_out()) == 4


def test_a_clip_that_was_drawn_in_some_epoch_had_a_bucket():
    config = {**CONFIG, "bucket_config": {"32px": {16: (0.3, 1)}}, "epochs": 2}
    many = clips(*((f"s{k}", 16, 32, 32) for k in range(200)))
    reasons = plan_training(many, config).left_out()["reason"]
    assert set(reasons) == {"not_kept"}
    assert len(reasons) / 200 == pytest.approx(0.7**2, abs=0.1)
    # what fills no batch had a bucket, too
    config["bucket_config"] = {"32px": {16: (0.3, 25)}}
    made = plan_training(many, {**config, "epochs": 1})
    placed = (np.array(made.assignments[0]["reason"]) == "").sum()
    assert (made.left_out()["reason"] == "remainder").sum() == placed % 25


def test_without_drop_last_small_batches_leave_nobody_out():
    made = plan_training(CLIPS, {**CONFIG, "drop_last": False})
    assert set(made.left_out()["id"]) == {"short", "small", "image"}


def test_a_plan_of_another_table_is_a_defect():
    made = plan_training(CLIPS, CONFIG)
    with pytest.raises(ValueError, match="another table"):
        left_out([CLIPS.head(3).assign(reason="")], made.plan, made.rules, drop_last=True)
