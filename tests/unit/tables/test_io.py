"""Tables keep what was written."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opensora.core.errors import TableError
from opensora.tables.columns import CAPTIONS, CLIPS, REJECTED, SCORES
from opensora.tables.io import read_head, read_table, write_table

ROWS = pd.DataFrame(
    {
        "id": ["007", "nan", "1e5"],
        "caption": ["#", "None", "A line"],
        "text": ["", "None", 'a "quoted", line\nbreak'],
        "text_len": [0, 1, 4],
        "status": ["empty_caption", "ok", "ok"],
        "detail": ["", "", ""],
    }
)


@pytest.mark.parametrize("name", ["captions.csv", "captions.parquet"])
def test_text_stays_text(tmp_path: Path, name: str) -> None:
    write_table(ROWS, tmp_path / name, CAPTIONS)
    pd.testing.assert_frame_equal(read_table(tmp_path / name, CAPTIONS), ROWS, check_dtype=False)


@pytest.mark.parametrize(
    "text",
    ["a\rb", "a\r\nb", "=cmd|' /C calc'!A0", "+1", "-1", "@sum", '"', ",", "\u2028", "😀\x01"],
)
def test_no_cell_breaks_a_table_or_changes_in_it(tmp_path: Path, text: str) -> None:
    rows = ROWS.assign(text=["", text, "z"])
    write_table(rows, tmp_path / "captions.csv", CAPTIONS)
    again = read_table(tmp_path / "captions.csv", CAPTIONS)
    pd.testing.assert_frame_equal(again, rows, check_dtype=False)


def test_the_byte_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_bytes(b"id,text\na,caf\xe9\n")
    with pytest.raises(TableError, match="byte 13 is not UTF-8; it looks like CP1252"):
        read_table(tmp_path / "captions.csv")


@pytest.mark.parametrize("name", ["a.jsonl", "a.JSON"])
def test_what_is_only_read_is_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(TableError, match=r"written as \.csv or \.parquet; name one"):
        write_table(pd.DataFrame({"id": ["a"]}), tmp_path / name)


def test_a_table_of_paths_is_told_where_it_begins(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text("path,text\na.mp4,a cat\n")
    with pytest.raises(TableError, match="and `opensora ingest-videos` begins"):
        read_table(tmp_path / "meta.csv", CLIPS)


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="is a folder; name a table in it"):
        read_table(tmp_path)


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    write_table(ROWS, tmp_path / "a.csv", CAPTIONS)
    write_table(ROWS[ROWS.columns[::-1]], tmp_path / "b.csv", CAPTIONS)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_missing_column_names_the_rule_that_makes_the_table(tmp_path: Path) -> None:
    ROWS.drop(columns="text").to_csv(tmp_path / "captions.csv", index=False)
    with pytest.raises(TableError, match="column 'text' is missing; rule caption_clips makes it"):
        read_table(tmp_path / "captions.csv", CAPTIONS)


def test_a_column_of_another_table_is_refused(tmp_path: Path) -> None:
    rows = ROWS[["id", "detail", "text_len"]].assign(path="p", stage="s", reason="keep_if")
    with pytest.raises(TableError, match="no column 'text_len'"):
        write_table(rows, tmp_path / "rejected.csv", REJECTED)


def test_score_tables_take_more_columns(tmp_path: Path) -> None:
    write_table(ROWS.assign(flow=[0.5, 1.5, 2.5]), tmp_path / "flow.csv", SCORES)
    assert list(read_table(tmp_path / "flow.csv", SCORES)["flow"]) == [0.5, 1.5, 2.5]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00id"])
def test_an_unreadable_table_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "captions.csv").write_bytes(content)
    with pytest.raises(TableError, match=r"captions\.csv"):
        read_table(tmp_path / "captions.csv", CAPTIONS)


FOREIGN = pd.DataFrame(
    {"path": ["a.mp4", "b.mp4"], "text": ["café, noir", "a; b"], "fps": [24, 30]}
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("suffix", [".csv", ".CSV", ".JSONL", ".jsonl", ".Json", ".json"])
def test_capitals_and_marked_encodings_change_nothing(
    tmp_path: Path, suffix: str, encoding: str
) -> None:
    rows = FOREIGN.to_dict("records")
    text = {
        ".csv": FOREIGN.to_csv(index=False),
        ".jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
        ".json": json.dumps(rows, ensure_ascii=False),
    }[suffix.lower()]
    (tmp_path / f"t{suffix}").write_bytes(text.encode(encoding))
    pd.testing.assert_frame_equal(read_table(tmp_path / f"t{suffix}"), FOREIGN, check_dtype=False)


def test_parquet_may_be_in_capitals(tmp_path: Path) -> None:
    write_table(ROWS, tmp_path / "CAPTIONS.PARQUET", CAPTIONS)
    assert (tmp_path / "CAPTIONS.PARQUET").read_bytes().startswith(b"PAR1")
    again = read_table(tmp_path / "CAPTIONS.PARQUET", CAPTIONS)
    pd.testing.assert_frame_equal(again, ROWS, check_dtype=False)


@pytest.mark.parametrize("mark", [";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_spreadsheets_part_columns_with_semicolons_and_tabs(
    tmp_path: Path, mark: str, encoding: str
) -> None:
    (tmp_path / "t.csv").write_bytes(FOREIGN.to_csv(index=False, sep=mark).encode(encoding))
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), FOREIGN, check_dtype=False)


def test_a_comma_in_a_quoted_name_parts_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('path;"notes, if any"\na.mp4;x\n', encoding="utf-8")
    assert list(read_table(tmp_path / "t.csv")) == ["path", "notes, if any"]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json"])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("café".encode("utf-16-le"), "byte 1 is 0; it looks like UTF-16 without a mark"),
        (b'[{"text": "caf\xe9"}]', "byte 14 is not UTF-8; it looks like CP1252"),
        (b"\xff\xfea\0b", "byte 4 is not UTF-16, as its mark says"),
    ],
)
def test_other_encodings_are_told_by_file_byte_and_name(
    tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(TableError) as told:
        read_table(tmp_path / name)
    assert str(told.value).startswith(f"{tmp_path / name}: byte ")
    assert said in str(told.value)


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
@pytest.mark.parametrize(
    ("cell", "words"), [("9" * 400, "beyond 64 bits, 99999"), ("9" * 5000, ""), ("[" * 9000, "")]
)
def test_numbers_and_depths_that_no_column_holds_are_refused(
    tmp_path: Path, suffix: str, cell: str, words: str
) -> None:
    row = '{"path": "a.mp4", "height": %s}'
    path = tmp_path / f"a.{suffix}"
    for text, is_good in ((row % 2**62, True), (row % cell, False)):
        path.write_text(text if suffix == "jsonl" else f"[{text}]")
        if is_good:
            assert read_table(path)["height"].tolist() == [2**62]
            continue
        with pytest.raises(TableError, match=f"not a readable table .*{words}"):
            read_table(path)


def test_text_of_a_parquet_file_that_is_no_utf8_is_found_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xc3(")]
    )
    pq.write_table(pa.table({"path": texts}), path)
    with pytest.raises(TableError, match=r"not a readable table .*UTF8"):
        read_table(path)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json", "parquet"])
def test_the_beginning_of_a_table_is_read_alone(suffix: str, tmp_path: Path) -> None:
    whole = pd.DataFrame({"path": ["a", "b", "c"], "text": ["x", 'with, "marks"\nand lines', ""]})
    file = tmp_path / f"t.{suffix}"
    if suffix.startswith("json"):
        whole.to_json(file, orient="records", lines=suffix == "jsonl")
    else:
        write_table(whole, file)
    assert read_head(file, 2).to_dict("list") == whole.head(2).to_dict("list")
    assert len(read_head(file, 9)) == 3


def test_a_list_that_is_cut_off_has_a_beginning(tmp_path: Path) -> None:
    long = {"path": "b", "text": "b" * 20_000}
    (tmp_path / "t.json").write_text(json.dumps([{"path": "a", "text": "é, [1]"}, long]))
    assert read_head(tmp_path / "t.json", 3).to_dict("list") == {"path": ["a"], "text": ["é, [1]"]}
    (tmp_path / "t.json").write_text('[{"path": 123456789012345678901}]')
    with pytest.raises(TableError, match="beyond 64 bits"):
        read_head(tmp_path / "t.json", 3)


def test_what_has_no_beginning_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"a": []}')
    with pytest.raises(TableError, match="no beginning that could be read alone"):
        read_head(tmp_path / "t.json", 2)
    with pytest.raises(TableError, match=r"gone\.csv: not a readable table"):
        read_head(tmp_path / "gone.csv", 2)
