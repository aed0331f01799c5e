"""Held-out clips: one pass in a fixed order, a bounded number of each bucket."""

import pandas as pd
import pytest

from opensora.plans import validation_plan
from opensora.plans.compile import BatchPlan, write_plan
from opensora.plans.validation_plan import MAX_CLIPS, plan_validation

CONFIG = {"bucket_config": {"32px": {16: (1.0, 4), 1: (1.0, 8)}}, "seed": 1, "epochs": 3}


def clips(films: int, images: int = 0, split: str = "validation") -> pd.DataFrame:
    ids = [f"{split}-film{k}" for k in range(films)] + [f"{split}-image{k}" for k in range(images)]
    frames = [16] * films + [1] * images
    size = {"height": 32, "width": 32, "split": split}
    return pd.DataFrame({"id": ids, "num_frames": frames}).assign(**size)


def sequence(plan: pd.DataFrame) -> list[tuple[str, list[str]]]:
    return [(bucket, list(ids)) for bucket, ids in zip(plan["bucket"], plan["ids"], strict=True)]


def test_only_the_validation_split_is_in_it_and_all_of_it():
    manifest = pd.concat([clips(10, 3), clips(50, split="train"), clips(9, split="test")])
    plan = sequence(plan_validation(manifest, CONFIG))
    assert [(bucket, len(ids)) for bucket, ids in plan] == [
        ("32px|1|1.00", 3),
        *(("32px|16|1.00", size) for size in (4, 4, 2)),
    ]
    assert sorted(name for _, ids in plan for name in ids) == sorted(clips(10, 3)["id"])


def test_its_order_is_that_of_the_ids_alone():
    manifest = pd.concat([clips(10, 3), clips(20, split="train")], ignore_index=True)
    plan = sequence(plan_validation(manifest, CONFIG))
    others = [
        plan_validation(manifest[::-1], CONFIG),
        plan_validation(manifest, {**CONFIG, "seed": 9, "epochs": 1, "num_steps": 7}),
        plan_validation(clips(10, 3), CONFIG),
    ]
    assert all(sequence(other) == plan for other in others)
    assert [name for _, ids in plan for name in ids] != sorted(clips(10, 3)["id"])


def test_a_bucket_has_at_most_512_clips_whatever_its_batch_size():
    assert MAX_CLIPS == 512
    manifest = clips(600, 700)
    for size, expected in ((4, 512), (100, 500), (4000, 512)):
        config = {"bucket_config": {"32px": {16: (1.0, size), 1: (1.0, 8)}}}
        plan = plan_validation(manifest, config)
        counts = plan["ids"].map(len).groupby(plan["bucket"].to_numpy()).sum()
        assert counts.to_dict() == {"32px|16|1.00": expected, "32px|1|1.00": 512}


def test_the_first_clips_stay_when_others_come(monkeypatch):
    monkeypatch.setattr(validation_plan, "MAX_CLIPS", 8)
    few, many = (plan_validation(clips(n), CONFIG) for n in (12, 13))
    stay = [{name for ids in plan["ids"] for name in ids} for plan in (few, many)]
    assert len(stay[0] & stay[1]) >= 7


@pytest.mark.parametrize(
    "manifest", [clips(3, split="train"), clips(0)], ids=["no such split", "no clips"]
)
def test_without_held_out_clips_the_plan_is_empty(manifest, tmp_path):
    plan = plan_validation(manifest, CONFIG)
    write_plan(plan, tmp_path / "plan.parquet", frame_interval=1)
    read = BatchPlan(tmp_path / "plan.parquet")
    assert len(read) == 0
    assert len(read.items()) == 0
