import math

import pandas as pd
import pytest

from opensora.core.errors import TableError
from opensora.plans.compile import BatchPlan, write_plan
from opensora.plans.ledger import stage_ledger
from opensora.plans.settle_plan import write_settled
from opensora.plans.stage_plan import plan_training

CONFIG = {"bucket_config": {"32px": {16: (0.8, 3), 4: (0.5, 3)}}, "epochs": 4, "seed": 2}


@pytest.fixture
def manifest() -> pd.DataFrame:
    rows = [(f"a{k}", 16, 32, 32, "train") for k in range(20)]
    rows += [(f"s{k}", 2, 32, 32, "train") for k in range(3)]
    rows += [("tiny", 16, 8, 8, "train"), ("one", 4, 24, 44, "train")]
    rows += [(f"i{k}", 1, 32, 32, "train") for k in range(2)]
    rows += [("v0", 16, 32, 32, "validation"), ("t0", 16, 32, 32, "test")]
    frame = pd.DataFrame(rows, columns=["id", "num_frames", "height", "width", "split"])
    seconds = [0.1 * (k + 1) for k in range(len(frame))]
    return frame.assign(start=1.0, end=[1.0 + s for s in seconds])


def ledger_of(manifest, folder, *, gone=(), **fields):
    made = plan_training(manifest, {**CONFIG, **fields})
    write_plan(made.plan, folder / "plan.parquet", **made.settings)
    plan = BatchPlan(folder / "plan.parquet")
    pairs = plan.items()
    rejected = pairs[pairs["id"].isin(list(gone)).to_numpy()].assign(reason="truncated")
    write_settled(plan, folder / "plan.parquet", rejected, folder / "settled.parquet")
    settled = BatchPlan(folder / "settled.parquet")
    return stage_ledger(manifest, made.left_out(), plan, settled, rejected), settled


def every_line(ledger) -> list[dict]:
    never = [line for reasons in ledger["never"].values() for line in reasons.values()]
    others = [ledger["splits"][name] for name in ledger["splits"] if name != "train"]
    return [*ledger["seen"], *never, *others]


@pytest.mark.parametrize("gone", [(), ("a3", "a4")])
@pytest.mark.parametrize(
    "fields", [{}, {"num_steps": 7}, {"drop_last": False}, {"max_crop": 0.05, "epochs": 20}]
)
def test_clips_and_seconds_of_all_lines_are_those_of_the_manifest(manifest, tmp_path, gone, fields):
    ledger, settled = ledger_of(manifest, tmp_path, gone=gone, **fields)
    lines = every_line(ledger)
    assert sum(line["clips"] for line in lines) == ledger["total"]["clips"] == len(manifest)
    seconds = math.fsum(manifest["end"] - manifest["start"])
    assert math.fsum(line["seconds"] for line in lines) == pytest.approx(seconds, abs=1e-4)
    assert ledger["total"]["seconds"] == pytest.approx(seconds, abs=1e-4)
    used = fields.get("num_steps", len(settled))
    shown = sum(len(settled[place].ids) for place in range(used))
    assert sum(line["times"] * line["clips"] for line in ledger["seen"]) == shown
    trained = ledger["splits"]["train"]["clips"]
    no_bucket = sum(line["clips"] for line in ledger["never"]["no_bucket"].values())
    assert ledger["in_a_bucket"]["clips"] == trained - no_bucket


def test_where_every_clip_is_seen_none_never_is(manifest, tmp_path):
    kept = manifest[manifest["id"].str.startswith("a")].reset_index(drop=True)
    whole = {"bucket_config": {"32px": {16: (1.0, 3)}}, "drop_last": False}
    ledger, _ = ledger_of(kept, tmp_path, **whole)
    assert ledger["never"] == {"no_bucket": {}, "left_over": {}, "rejected": {}}
    assert sum(line["clips"] for line in ledger["seen"]) == len(kept)


def test_every_reason_is_named(manifest, tmp_path):
    ledger, _ = ledger_of(manifest, tmp_path, gone=("a3", "a4"))
    reasons = {kind: set(found) for kind, found in ledger["never"].items()}
    assert {"too_short", "too_small", "no_image_bucket"} <= reasons["no_bucket"]
    assert ledger["never"]["no_bucket"]["too_short"]["clips"] == 3
    assert ledger["never"]["no_bucket"]["too_short"]["seconds"] == pytest.approx(2.1 + 2.2 + 2.3)
    assert reasons["left_over"] <= {"too_few_for_a_batch", "remainder"}
    assert ledger["never"]["rejected"]["truncated"] == ledger["rejected"]["truncated"]
    assert ledger["rejected"]["truncated"]["clips"] == 2
    assert set(ledger["splits"]) == {"train", "validation", "test"}


def test_clips_behind_the_last_step_are_never_seen(manifest, tmp_path):
    ledger, settled = ledger_of(manifest, tmp_path, num_steps=1)
    assert len(settled) > 1
    assert ledger["seen"] == [{"times": 1, "clips": 3, **_seconds(manifest, settled[0].ids)}]
    assert ledger["never"]["left_over"]["beyond_num_steps"]["clips"] > 0


def _seconds(manifest, ids):
    rows = manifest[manifest["id"].isin(ids)]
    return {"seconds": pytest.approx((rows["end"] - rows["start"]).sum())}


def test_a_clip_that_lost_one_bucket_is_seen_in_the_other(manifest, tmp_path):
    config = {**CONFIG, "bucket_config": {"32px": {16: (0.5, 1)}, "24px": {16: (1.0, 1)}}}
    made = plan_training(manifest, config)
    write_plan(made.plan, tmp_path / "plan.parquet", **made.settings)
    plan = BatchPlan(tmp_path / "plan.parquet")
    pairs = plan.items()
    twice = pairs[pairs["id"].duplicated().to_numpy()].iloc[:1].assign(reason="truncated")
    write_settled(plan, tmp_path / "plan.parquet", twice, tmp_path / "settled.parquet")
    settled = BatchPlan(tmp_path / "settled.parquet")
    ledger = stage_ledger(manifest, made.left_out(), plan, settled, twice)
    assert ledger["never"]["rejected"] == {}
    assert ledger["rejected"]["truncated"]["clips"] == 1
    assert sum(line["clips"] for line in every_line(ledger)) == len(manifest)


@pytest.mark.parametrize(("row", "message"), [(slice(1, None), "not in the manifest"),
                                              (slice(None), "only in the manifest")])  # fmt: skip
def test_a_manifest_that_is_not_that_of_the_plan_is_refused(manifest, tmp_path, row, message):
    made = plan_training(manifest, CONFIG)
    write_plan(made.plan, tmp_path / "plan.parquet", **made.settings)
    plan = BatchPlan(tmp_path / "plan.parquet")
    more = pd.concat([manifest, manifest.tail(1).assign(id="new", split="train")])
    none = plan.items().iloc[:0].assign(reason="")
    with pytest.raises(TableError, match=message):
        stage_ledger(more.iloc[row], made.left_out(), plan, plan, none)


def test_what_would_lose_too_much_has_no_bucket(manifest, tmp_path):
    ledger, _ = ledger_of(manifest, tmp_path, max_crop=0.05, epochs=20)
    assert ledger["never"]["no_bucket"]["too_much_crop"]["clips"] == 1  # 24 x 44 in 24 x 40: 9 %
    assert (
        "too_much_crop" not in ledger_of(manifest, tmp_path, max_crop=0.4)[0]["never"]["no_bucket"]
    )
