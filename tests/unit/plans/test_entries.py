import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensora.core.errors import TableError
from opensora.plans.compile import BatchPlan, write_plan
from opensora.plans.entries import entries_of, entries_of_file, in_table, join_entries
from opensora.plans.stage_plan import plan_training

lists = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=4), max_size=8)


def column(values: list[list[str]]) -> pa.Array:
    return pa.array(values, pa.list_(pa.large_string()))


@given(st.lists(lists, min_size=1, max_size=3))
@settings(max_examples=100)
def test_lists_of_texts_go_through_numbers_and_come_back(parts):
    found = entries_of(pa.chunked_array([column(part) for part in parts]))
    flat = [entry for part in parts for entry in part]
    assert found.column().to_pylist() == flat
    again = entries_of(found.column())
    assert again.column().to_pylist() == flat
    clips, new_ids = found.file_columns()
    read = entries_of_file(pa.chunked_array([clips]), pa.chunked_array([new_ids]))
    assert read.column().to_pylist() == flat
    # each id stands where it comes up first
    seen: set[str] = set()
    for entry, new in zip(flat, new_ids.to_pylist(), strict=True):
        assert new == list(dict.fromkeys(name for name in entry if name not in seen))
        seen |= set(entry)


@given(lists, st.integers(0, 8), st.integers(0, 8))
@settings(max_examples=60)
def test_a_slice_is_taken_apart_like_a_whole_column(values, start, length):
    part = entries_of(column(values)).column().slice(start, length)
    assert entries_of(part).column().to_pylist() == values[start : start + length]


def test_entries_of_two_tables_of_ids_are_joined_and_compared():
    one, other = (entries_of(column(values)) for values in ([["a", "b"]], [["c"], ["b", "x"]]))
    joined = join_entries([one, other])
    assert joined.column().to_pylist() == [["a", "b"], ["c"], ["b", "x"]]
    assert joined.ids.to_pylist() == ["a", "b", "c", "x"]
    assert in_table(other, one.ids).tolist() == [-1, 1, -1]
    assert join_entries([]).column().to_pylist() == []


def test_a_long_plan_is_four_bytes_a_clip_and_names_each_clip_once(tmp_path):
    count, epochs = 2000, 50
    ids = [f"a-long-name-of-a-clip-{k:06d}-0123456789ab" for k in range(count)]
    clips = pd.DataFrame({"id": ids, "num_frames": 16, "height": 32, "width": 32})
    config = {"bucket_config": {"32px": {16: (1.0, 50)}}, "epochs": epochs, "seed": 1}
    made = plan_training(clips, config)
    write_plan(made.plan, tmp_path / "plan.parquet")
    plan = BatchPlan(tmp_path / "plan.parquet")
    assert len(plan.entries.clips) == count * epochs
    assert plan.entries.clips.dtype == np.int32
    assert sorted(plan.entries.ids.to_pylist()) == ids
    assert plan.table.nbytes < 6 * count * epochs  # 4 for the number, the rest for ids and buckets
    assert plan[1999].ids == made.plan["ids"].iloc[1999]
    raw = (tmp_path / "plan.parquet").read_bytes()
    assert len(raw) < 4 * count * epochs


def test_a_number_without_an_id_is_no_plan(tmp_path):
    path = tmp_path / "plan.parquet"
    table = pa.table(
        {
            "epoch": pa.array([0], pa.int32()),
            "bucket": ["32px|16|1.00"],
            "clips": pa.array([[0, 1]], pa.list_(pa.int32())),
            "new_ids": [["a"]],
        },
        metadata={"opensora_plan": '{"hash": "x"}'},
    )
    pq.write_table(table, path)
    with pytest.raises(TableError, match="not a batch plan"):
        BatchPlan(path)


def test_a_plan_of_a_run_begun_with_texts_still_reads(tmp_path):
    path = tmp_path / "plan.parquet"
    table = pa.table(
        {
            "epoch": pa.array([0, 1], pa.int32()),
            "bucket": ["32px|16|1.00"] * 2,
            "ids": pa.array([["b", "a"], ["a"]], pa.list_(pa.large_string())),
        },
        metadata={"opensora_plan": '{"hash": "x"}'},
    )
    pq.write_table(table, path)
    plan = BatchPlan(path)
    assert [plan[k].ids for k in range(2)] == [["b", "a"], ["a"]]
    assert plan.items()["id"].tolist() == ["a", "b"]
