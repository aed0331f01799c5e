import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensora.core.errors import ConfigError, TableError
from opensora.plans import settle_plan as stage
from opensora.plans.compile import BatchPlan, write_plan
from opensora.plans.stage_plan import plan_training

CONFIG = {"bucket_config": {"32px": {16: (0.7, 3), 1: (1.0, 2)}, "24px": {16: (1.0, 2)}}, "seed": 1}


def clips(count: int) -> pd.DataFrame:
    frames = [16 if k % 3 else 1 for k in range(count)]
    ids = [f"c{k}" for k in range(count)]
    return pd.DataFrame({"id": ids, "num_frames": frames, "height": 32, "width": 32})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("settle")


def compiled(folder, *, count=14, world_size=1, **fields) -> BatchPlan:
    made = plan_training(clips(count), {**CONFIG, "epochs": 3, **fields}, world_size=world_size)
    write_plan(made.plan, folder / "plan.parquet", **made.settings)
    return BatchPlan(folder / "plan.parquet")


def entries(plan: BatchPlan) -> list[tuple]:
    return [tuple(plan[place]) for place in range(len(plan))]


def by_hand(plan: BatchPlan, gone: set[tuple[str, str]], *, drop_last: bool, world_size: int):
    """Deal entry after entry from one queue for each epoch and bucket."""
    queues: dict[tuple, list[str]] = {}
    for epoch, bucket, ids in entries(plan):
        stay = [name for name in ids if (name, str(bucket)) not in gone]
        queues.setdefault((epoch, bucket), []).extend(stay)
    found = []
    for epoch, bucket, ids in entries(plan):
        queue = queues[epoch, bucket]
        taken, queue[:] = queue[: len(ids)], queue[len(ids) :]
        if taken and (len(taken) == len(ids) or not drop_last):
            found.append((epoch, bucket, taken))
    return found[: len(found) // world_size * world_size]


@given(st.data(), st.booleans(), st.integers(1, 3))
@settings(max_examples=40)
def test_what_stays_is_dealt_out_in_the_order_of_the_plan(folder, data, drop_last, world_size):
    plan = compiled(folder, world_size=world_size, drop_last=drop_last)
    pairs = plan.items()
    rows = data.draw(st.sets(st.integers(0, len(pairs) - 1), min_size=1, max_size=4))
    rejected = pairs.iloc[sorted(rows)]
    stage.write_settled(plan, folder / "plan.parquet", rejected, folder / "settled.parquet")
    settled = BatchPlan(folder / "settled.parquet")
    gone = set(rejected.itertuples(index=False, name=None))
    assert entries(settled) == by_hand(plan, gone, drop_last=drop_last, world_size=world_size)
    assert gone.isdisjoint(settled.items().itertuples(index=False, name=None))
    assert settled.hash != plan.hash
    assert settled.metadata["settled_from"] == plan.hash
    assert settled.metadata["frame_interval"] == plan.metadata["frame_interval"]


def test_the_hash_is_that_of_the_plan_and_the_rejected_pairs(folder):
    plan = compiled(folder)
    rejected = plan.items().iloc[[1, 4]]
    hashes = {
        stage.deal_out(plan, rows).attrs["hash"]
        for rows in (rejected, rejected.iloc[::-1], rejected.iloc[:1])
    }
    assert len(hashes) == 2


def test_without_a_rejected_clip_the_plan_is_the_same_file(folder):
    plan = compiled(folder)
    nothing = plan.items().iloc[:0]
    stage.write_settled(plan, folder / "plan.parquet", nothing, folder / "settled.parquet")
    both = [(folder / f"{name}.parquet").read_bytes() for name in ("plan", "settled")]
    assert both[0] == both[1]


def test_a_plan_that_is_left_without_a_step_or_enough_steps_is_refused(folder):
    plan = compiled(folder)
    with pytest.raises(ConfigError, match="0 are left without the rejected clips, fewer than"):
        stage.deal_out(plan, plan.items())
    short = compiled(folder, num_steps=len(plan))
    with pytest.raises(ConfigError, match=rf"num_steps is {len(plan)} and 3 epochs of the plan"):
        stage.deal_out(short, short.items().iloc[:3])


def indexes(plan: BatchPlan) -> tuple[pd.DataFrame, pd.DataFrame]:
    latents = plan.items().assign(status="ok", detail="")
    embeddings = latents[["id", "status", "detail"]].drop_duplicates("id")
    return latents, embeddings.reset_index(drop=True)


def test_a_clip_without_a_text_leaves_all_its_buckets(folder):
    plan = compiled(folder)
    latents, embeddings = indexes(plan)
    twice = latents["id"].value_counts().index[0]
    assert (latents["id"] == twice).sum() == 2
    embeddings.loc[embeddings["id"] == twice, ["status", "detail"]] = ["too_long", "900 tokens"]
    other = latents.index[(latents["id"] != twice).to_numpy()][0]
    latents.loc[other, ["status", "detail"]] = ["truncated", "ends after 3 frames"]
    found = stage.find_rejected(plan, latents, embeddings)
    rows = set(found.itertuples(index=False, name=None))
    first = latents.loc[other]
    pairs = latents[latents["id"] == twice]["bucket"]
    expected = {(twice, bucket, "encode_captions", "too_long", "900 tokens") for bucket in pairs}
    late = "ends after 3 frames"
    expected |= {(first["id"], first["bucket"], "encode_videos", "truncated", late)}
    assert rows == expected
    assert stage.find_rejected(plan, None, None).empty


@pytest.mark.parametrize("bad", [(0,), (1,), (0, 1)])
def test_a_clip_leaves_where_none_of_its_captions_has_an_embedding(folder, bad):
    plan = compiled(folder)
    latents, embeddings = indexes(plan)
    name = embeddings["id"][0]
    both = pd.concat([embeddings, embeddings[:1]], ignore_index=True)  # k = 1 of the first clip
    places = [[0, len(both) - 1][k] for k in bad]
    both.loc[places, ["status", "detail"]] = ["no_token", "none"]
    found = stage.find_rejected(plan, latents, both)
    assert set(found["id"]) == ({name} if len(bad) == 2 else set())


@pytest.mark.parametrize("rule", ["encode_videos", "encode_captions"])
def test_a_pair_in_no_index_is_an_error_that_names_the_rule(folder, rule):
    plan = compiled(folder)
    tables = dict(zip(("encode_videos", "encode_captions"), indexes(plan), strict=True))
    tables[rule] = tables[rule].iloc[1:]
    with pytest.raises(TableError, match=f"in no index of {rule} \\(first: 'c1'.*run {rule} again"):
        stage.find_rejected(plan, tables["encode_videos"], tables["encode_captions"])


def test_a_clip_is_dealt_out_where_all_its_windows_failed(folder):
    plan = compiled(folder)
    latents, embeddings = indexes(plan)
    latents = latents.loc[latents.index.repeat(3)].reset_index(drop=True)
    latents.loc[[3, 4, 6, 7, 8], ["status", "detail"]] = ["truncated", "ends early"]
    found = stage.find_rejected(plan, latents, embeddings)
    lost = latents.loc[6]
    expected = (lost["id"], lost["bucket"], "encode_videos", "truncated", "ends early")
    assert list(found.itertuples(index=False, name=None)) == [expected]


def test_rows_of_other_plans_in_an_index_are_passed_by(folder):
    plan = compiled(folder)
    latents, embeddings = indexes(plan)
    other = {"id": "v1", "bucket": latents["bucket"][0], "status": "missing", "detail": "gone"}
    latents = pd.concat([latents, pd.DataFrame([other])])
    assert stage.find_rejected(plan, latents, embeddings).empty


def test_too_many_rejected_clips_are_an_error_with_reasons_and_the_setting():
    reasons = ["truncated"] * 2 + ["missing"]
    rows = pd.DataFrame({"id": ["a", "b", "c"], "reason": reasons, "detail": ["x", "y", "z"]})
    stage.require_few(rows, 300, 0.01)
    stage.require_few(rows.iloc[[0, 0, 0, 0]], 100, 0.01)  # buckets of one clip
    with pytest.raises(ConfigError) as error:
        stage.require_few(rows, 299, 0.01)
    assert str(error.value) == (
        "3 of the 299 clips of the plan, 1 %, can not be trained: truncated 2 (such as 'a': x);"
        " missing 1 (such as 'c': z); mend the files and run it again, or raise max_rejected, which"
        " is 0.01"
    )


def test_a_file_that_is_no_index_names_the_rule(folder):
    np.save(folder / "index.npy", np.zeros(3))
    for name in ("index.npy", "nowhere.parquet"):
        with pytest.raises(TableError, match="not an index of encode_videos"):
            stage.read_index([folder / name], "encode_videos", has_buckets=True)
    pd.DataFrame({"id": ["a"], "status": ["ok"], "detail": [""]}).to_parquet(folder / "i.parquet")
    with pytest.raises(TableError, match="not an index of encode_videos"):
        stage.read_index([folder / "i.parquet"], "encode_videos", has_buckets=True)
    found = stage.read_index([folder / "i.parquet"] * 2, "encode_captions", has_buckets=False)
    assert found["id"].tolist() == ["a", "a"]
