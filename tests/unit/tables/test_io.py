"""Tables keep what was written."""

from pathlib import Path

import pandas as pd
import pytest

from opensora.core.errors import TableError
from opensora.tables.columns import CAPTIONS, REJECTED, SCORES
from opensora.tables.io import read_table, write_table

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
    with pytest.raises(TableError, match="byte 13 is not UTF-8; save the table in UTF-8"):
        read_table(tmp_path / "captions.csv")


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    write_table(ROWS, tmp_path / "a.csv", CAPTIONS)
    write_table(ROWS[ROWS.columns[::-1]], tmp_path / "b.csv", CAPTIONS)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_missing_column_names_the_rule_that_makes_the_table(tmp_path: Path) -> None:
    ROWS.drop(columns="text").to_csv(tmp_path / "captions.csv", index=False)
    with pytest.raises(TableError, match="column 'text' is missing; rule caption_clips makes it"):
        read_table(tmp_path / "captions.csv", CAPTIONS)


def test_a_column_of_another_table_is_refused(tmp_path: Path) -> None:
    rows = ROWS[["id", "detail", "text_len"]].assign(path="p", stage="s", reason="r")
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
