"""What a stage has to encode, shard by shard."""

import pandas as pd
import pytest

from opensora.core.errors import TableError
from opensora.core.seed import stable_shard
from opensora.plans.compile import BatchPlan, write_plan
from opensora.plans.items import clip_shards, plan_items, write_items
from opensora.plans.stage_plan import plan_training
from opensora.tables.io import read_table

VIDEO, IMAGE = "24px|4|1.00", "24px|1|1.00"


# more than one window: clip c3 has six frames, c0 and c4 have five, c5 is held out
LENGTHS = {"c0": 5, "c1": 3, "c3": 6, "c4": 4}


def manifest(count: int = 6) -> pd.DataFrame:
    ids = [f"c{k}" for k in range(count)]
    table = pd.DataFrame({"id": ids, "path": [f"{name}.mp4" for name in ids], "fps": 8.0})
    return table.assign(
        sha256="", split=["validation" if k == 5 else "train" for k in range(count)]
    )


def plan(folder, entries: list[tuple[int, str, list[str]]], name: str = "plan") -> BatchPlan:
    table = pd.DataFrame(
        {"epoch": [e for e, _, _ in entries], "bucket": [b for _, b, _ in entries]}
    )
    table["ids"] = [ids for _, _, ids in entries]
    table.attrs = {"hash": "h"}
    write_plan(table, folder / f"{name}.parquet")
    return BatchPlan(folder / f"{name}.parquet")


ENTRIES = [(0, VIDEO, ["c3", "c0"]), (0, IMAGE, ["c1"]), (1, VIDEO, ["c0", "c4"])]


def test_pairs_of_all_epochs_and_plans_are_sorted_with_what_the_encoder_needs(tmp_path):
    held_out = plan(tmp_path, [(0, VIDEO, ["c5"])], "validation")
    pairs = [plan(tmp_path, ENTRIES).items(), held_out.items()]
    (table,) = plan_items(manifest(), pairs, frame_interval=2, num_shards=1)
    assert table[
        ["bucket", "id", "path", "fps", "frame_interval", "split"]
    ].to_numpy().tolist() == [
        [IMAGE, "c1", "c1.mp4", 120.0, 1, "train"],  # of an image no second frame is taken
        [VIDEO, "c0", "c0.mp4", 4.0, 2, "train"],
        [VIDEO, "c3", "c3.mp4", 4.0, 2, "train"],
        [VIDEO, "c4", "c4.mp4", 4.0, 2, "train"],
        [VIDEO, "c5", "c5.mp4", 4.0, 2, "validation"],
    ]


def test_windows_are_rows_of_training_clips_that_are_long_enough(tmp_path):
    held_out = plan(tmp_path, [(0, VIDEO, ["c5"])], "validation")
    pairs = [plan(tmp_path, ENTRIES).items(), held_out.items()]
    clips = manifest().assign(num_frames=[LENGTHS.get(f"c{k}", 9) for k in range(6)])
    (one,) = plan_items(clips, pairs, frame_interval=1, num_shards=1)
    (table,) = plan_items(clips, pairs, frame_interval=1, num_shards=1, windows=3)
    rows = table[["bucket", "id", "window"]].to_numpy().tolist()
    assert rows == [
        *([IMAGE, "c1", start] for start in (0, 2, 1)),
        *([VIDEO, "c0", start] for start in (0, 1)),
        *([VIDEO, "c3", start] for start in (0, 2, 1)),
        [VIDEO, "c4", 0],
        [VIDEO, "c5", 0],  # every epoch asks the same of a held-out clip
    ]
    first = table[table["window"] == 0].drop(columns="window").reset_index(drop=True)
    pd.testing.assert_frame_equal(first, one)
    # at every second frame a window spans seven, which none has
    (wide,) = plan_items(clips, pairs, frame_interval=2, num_shards=1, windows=3)
    assert wide[wide["bucket"] == VIDEO]["window"].tolist() == [0, 0, 0, 0]


def test_one_window_is_the_table_of_before_to_the_byte(tmp_path):
    pairs = [plan(tmp_path, ENTRIES).items()]
    write_items(manifest(), pairs, tmp_path / "a", frame_interval=1, shards=1)
    write_items(manifest(), pairs, tmp_path / "b", frame_interval=1, shards=1, windows=1)
    one, other = (tmp_path / name / "0000.parquet" for name in "ab")
    assert one.read_bytes() == other.read_bytes()
    assert "window" not in read_table(one)


def test_tables_do_not_depend_on_the_order_of_the_plan(tmp_path):
    turned = [(epoch, bucket, ids[::-1]) for epoch, bucket, ids in ENTRIES[::-1]]
    names = {"a": ENTRIES, "b": turned}
    for name, entries in names.items():
        pairs = [plan(tmp_path, entries, name).items()]
        write_items(manifest(), pairs, tmp_path / name, frame_interval=1, shards=2)
    for shard in ("0000", "0001"):
        one, other = (tmp_path / name / f"{shard}.parquet" for name in names)
        assert one.read_bytes() == other.read_bytes()


def test_one_clip_more_adds_its_pairs_alone_though_others_rest():
    config = {"bucket_config": {"24px": {16: (0.6, 4)}}, "epochs": 1, "seed": 1}
    clips = manifest(50).assign(num_frames=16, height=24, width=24, split="train")
    before, now = (plan_training(clips.iloc[:count], config) for count in (49, 50))
    one, other = ({*map(tuple, made.pairs().to_numpy())} for made in (before, now))
    assert {name for name, _ in other - one} == {"c49"}
    assert one < other
    batches = zip(now.plan["ids"], now.plan["bucket"], strict=True)
    planned = {(name, bucket) for ids, bucket in batches for name in ids}
    assert planned < other  # one rests


@pytest.mark.parametrize("given", [True, False])
def test_a_clip_is_in_the_shard_of_its_video_or_of_its_id(tmp_path, given):
    clips = manifest().assign(shard=["0001", "0000", "0002", "0000", "0001", "0002"])
    clips = clips if given else clips.drop(columns="shard")
    pairs = [plan(tmp_path, ENTRIES).items()]
    write_items(clips, pairs, tmp_path, frame_interval=1, shards=3)
    for shard in range(3):
        table = read_table(tmp_path / f"{shard:04d}.parquet")
        for name in table["id"]:
            number = int(clips.set_index("id")["shard"][name]) if given else stable_shard(name, 3)
            assert number == shard
    assert sum(len(read_table(tmp_path / f"{k:04d}.parquet")) for k in range(3)) == 4


def test_an_empty_shard_is_a_table_with_the_same_columns(tmp_path):
    pairs = [plan(tmp_path, ENTRIES).items()]
    write_items(manifest(), pairs, tmp_path, frame_interval=1, shards=40)
    tables = [read_table(tmp_path / f"{k:04d}.parquet") for k in range(40)]
    assert 0 in map(len, tables)
    assert len({tuple(table.columns) for table in tables}) == 1


def test_a_shard_that_there_is_not_is_refused():
    with pytest.raises(TableError, match="has clips of shard 3 and there are 2"):
        clip_shards(manifest().assign(shard=[0, 1, 3, 0, 0, 0]), 2)


def test_clips_that_the_manifest_lacks_are_counted(tmp_path):
    with pytest.raises(TableError, match="lacks 2 clips of the plan, the first 'c3'"):
        plan_items(manifest(3), [plan(tmp_path, ENTRIES).items()], frame_interval=1, num_shards=1)


@pytest.mark.parametrize("rate", [float("nan"), 0.0, -8.0])
def test_a_clip_without_a_frame_rate_is_named(tmp_path, rate):
    wrong = manifest().assign(fps=[8.0, rate] + [8.0] * 4)
    with pytest.raises(TableError, match=r"clip 'c1' (nan|-?\d\.0) frames a second, expected"):
        plan_items(wrong, [plan(tmp_path, ENTRIES).items()], frame_interval=1, num_shards=1)
