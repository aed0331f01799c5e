"""Every table has one schema, whatever its rows are; what is missing is null."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opensora.core.errors import TableError
from opensora.tables import columns
from opensora.tables.columns import CLIPS, MANIFEST, SCORES, VIDEOS, Table
from opensora.tables.io import read_table, write_table
from opensora.tables.parquet import SEAL

TABLES = {value.name: value for value in vars(columns).values() if isinstance(value, Table)}
NUMBERS = {
    **dict.fromkeys(("num_frames", "height", "width", "resolution", "rotation"), pa.int64()),
    **dict.fromkeys(("start_frame", "end_frame", "text_len", "seed"), pa.int64()),
    **dict.fromkeys(("bucket_frames", "bucket_height", "bucket_width"), pa.int64()),
    **dict.fromkeys(("fps", "aspect_ratio", "duration", "start", "end"), pa.float64()),
    **dict.fromkeys(("variable_frame_rate", "hdr", "interlaced"), pa.bool_()),
    **dict.fromkeys(("pulldown", "has_audio"), pa.bool_()),
    **dict.fromkeys(("source_height", "source_width", "number", "bytes"), pa.int64()),
    "sar": pa.float64(),
}


def a_row(table: Table) -> dict[str, Any]:
    samples = {pa.int64(): 7, pa.float64(): 0.25, pa.bool_(): True, pa.string(): "x"}
    row = {name: samples[NUMBERS.get(name, pa.string())] for name in table.columns}
    reasons = {"status": "ok", "reason": "too_short"}
    return row | {name: word for name, word in reasons.items() if name in row}


def written(path: Path, rows: object, table: Table) -> pa.Schema:
    write_table(pd.DataFrame(rows, columns=[*table.columns]), path, table)
    return without_seal(pq.read_schema(path))


def without_seal(schema: pa.Schema) -> pa.Schema:
    """A schema without what is of the rows."""
    metadata = dict(schema.metadata)
    assert metadata.pop(SEAL)
    return schema.with_metadata(metadata)


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_table_has_the_schema_of_a_full_one(name: str, tmp_path: Path) -> None:
    table = TABLES[name]
    schema = written(tmp_path / "full.parquet", [a_row(table)], table)
    assert {field.name: field.type for field in schema} == {
        column: NUMBERS.get(column, pa.string()) for column in table.columns
    }
    assert schema.metadata == {b"opensora.table": name.encode()}
    gaps = {key: None for key, kind in NUMBERS.items() if key in table.columns}
    for rows in ([], [a_row(table) | gaps]):
        again = written(tmp_path / "other.parquet", rows, table)
        assert again.equals(schema, check_metadata=True)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [a_row(VIDEOS), a_row(VIDEOS) | {"num_frames": None, "detail": None, "hdr": None}]
    written(tmp_path / "v.parquet", rows, VIDEOS)
    again = read_table(tmp_path / "v.parquet", VIDEOS)
    assert again.loc[0].to_dict() == rows[0]
    assert again["num_frames"].isna().tolist() == [False, True]
    assert again["detail"].tolist() == ["x", ""]
    assert again["hdr"].tolist() == [True, None]


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "object"])
def test_a_missing_score_is_null_and_a_short_one_stays_short(kind: str, tmp_path: Path) -> None:
    values = pd.Series([0.7, np.nan, 4.5], dtype=kind)
    if kind == "object":
        values[0] = np.float32(0.7)
    rows = pd.DataFrame({"id": list("abc"), "status": "ok", "detail": "", "aes": values})
    write_table(rows, tmp_path / "aes.parquet", SCORES)
    file = pq.ParquetFile(tmp_path / "aes.parquet")
    column = file.read()["aes"]
    assert column.type == pa.float64()
    assert column.null_count == 1
    assert column.to_pylist() == [0.7, None, 4.5]
    place = file.schema_arrow.get_field_index("aes")
    statistics = file.metadata.row_group(0).column(place).statistics
    assert (statistics.null_count, statistics.min, statistics.max) == (1, 0.7, 4.5)
    assert (read_table(tmp_path / "aes.parquet")["aes"] >= 0.7).sum() == 2


@pytest.mark.parametrize("values", [[1, 2], [True, False], [None, None], [np.nan, 3.0]])
def test_a_score_is_a_measure_in_every_shard(values: list[object], tmp_path: Path) -> None:
    rows = pd.DataFrame({"id": ["a", "b"], "status": "ok", "detail": "", "aes": values})
    rows = rows.assign(cmotion=["pan", None], scorer="camera-1")
    for part in (rows, rows[:0]):
        write_table(part, tmp_path / "s.parquet", SCORES)
        schema = pq.read_schema(tmp_path / "s.parquet")
        kinds = [schema.field(name).type for name in ("aes", "cmotion", "scorer")]
        assert kinds == [pa.float64(), pa.string(), pa.string()]
    assert read_table(tmp_path / "s.parquet")["cmotion"].tolist() == []


def test_further_columns_of_a_manifest_are_what_they_are(tmp_path: Path) -> None:
    more = {"big": [2**53 + 1, 2], "flow": [0.5, 1], "bright": [True, False], "note": ["x", None]}
    rows = pd.DataFrame([a_row(MANIFEST)] * 2).assign(**more)
    write_table(rows, tmp_path / "m.parquet", MANIFEST)
    schema = pq.read_schema(tmp_path / "m.parquet")
    kinds = [schema.field(name).type for name in more]
    assert kinds == [pa.int64(), pa.float64(), pa.bool_(), pa.string()]
    again = read_table(tmp_path / "m.parquet", MANIFEST)
    assert again["big"].tolist() == more["big"]
    assert again["note"].isna().tolist() == [False, True]


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    rows = pd.DataFrame([a_row(CLIPS) | {"id": f"c{k}", "start": k / 3} for k in range(999)])
    write_table(rows, tmp_path / "a.parquet", CLIPS)
    shuffled = rows.sample(frac=1, random_state=0)[rows.columns[::-1]]
    write_table(shuffled.sort_values("start"), tmp_path / "b.parquet", CLIPS)
    write_table(read_table(tmp_path / "a.parquet"), tmp_path / "c.parquet", CLIPS)
    first = (tmp_path / "a.parquet").read_bytes()
    assert all((tmp_path / name).read_bytes() == first for name in ("b.parquet", "c.parquet"))
    column = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("num_frames", 1.5, "'1.5'; expected a whole number"),
        ("num_frames", np.inf, "'inf'; expected a whole number"),
        ("fps", "fast", "'fast'; expected a number"),
        ("hdr", "maybe", "'maybe'; expected yes or no"),
    ],
)
def test_a_cell_of_another_kind_is_named(
    column: str, value: object, expected: str, tmp_path: Path
) -> None:
    rows = pd.DataFrame([a_row(VIDEOS), a_row(VIDEOS) | {column: value}])
    with pytest.raises(TableError, match=rf"v\.parquet: row 2: {column} is {expected}"):
        write_table(rows, tmp_path / "v.parquet", VIDEOS)
    assert list(tmp_path.iterdir()) == []


def test_neither_a_folders_name_nor_the_index_of_pandas_is_a_column(tmp_path: Path) -> None:
    folder = tmp_path / "kind=video"
    folder.mkdir()
    pd.DataFrame({"path": ["x"], "n": [1]}, index=[5]).to_parquet(folder / "t.parquet")
    again = read_table(folder / "t.parquet")
    assert again.to_dict("list") == {"path": ["x"], "n": [1]}
    assert list(read_table(folder / "t.parquet", columns=["n", "m"]).columns) == ["n"]
