"""Cells of our own tables that cannot be: one sentence with row and column."""

from pathlib import Path

import pandas as pd
import pytest

from opensora.core.errors import ConfigError, TableError
from opensora.curation.manifest.filters import parse_filters
from opensora.tables.columns import LEFT_OUT, REJECTED, SCENES
from opensora.tables.io import read_table, write_table
from opensora.tables.manifest import read_manifest


def scenes(**cells: object) -> pd.DataFrame:
    good = dict.fromkeys(SCENES.columns, "") | {"start": 0.0, "end": 1.5, "status": "ok"}
    good |= {"start_frame": 0, "end_frame": 12}
    return pd.DataFrame([good, {**good, **cells}])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_good_marks_and_empty_numbers_pass(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write_table(scenes(status="too_short", end=None), path, SCENES)
    assert len(read_table(path, SCENES)) == 2


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        *(("OK", ""), ("", ""), ("not ok", ""), ("aes_too_low", "")),
        ("corupt", "; did you mean 'corrupt'?"),
        ("too-short", "; did you mean 'too_short'?"),
    ],
)
def test_a_status_that_is_none_is_refused_by_name(tmp_path: Path, word: str, hint: str) -> None:
    path = tmp_path / "a.csv"
    write_table(scenes(status=word), path)
    sentence = (
        rf"a\.csv: row 2: status is {word!r}; expected 'ok', or a reason that docs/curation.md"
    )
    with pytest.raises(TableError, match=sentence) as told:
        read_table(path, SCENES)
    assert hint in str(told.value)
    with pytest.raises(TableError, match=f"row 2: status is {word!r}"):  # whoever gives it hears it
        write_table(scenes(status=word), tmp_path / "b.parquet", SCENES)
    assert not (tmp_path / "b.parquet").exists()


@pytest.mark.parametrize("reason", ["changed", "keep_if", "flow_too_low", "my score_missing"])
def test_a_rejected_row_may_name_a_rule_or_a_bound(tmp_path: Path, reason: str) -> None:
    row = {"id": "a", "path": "a.mp4", "stage": "build_manifest", "reason": reason, "detail": ""}
    write_table(pd.DataFrame([row]), tmp_path / "a.csv", REJECTED)
    assert read_table(tmp_path / "a.csv", REJECTED)["reason"].tolist() == [reason]
    for word in ("keep", "flow_low"):
        write_table(pd.DataFrame([{**row, "reason": word}]), tmp_path / "a.csv")
        with pytest.raises(TableError, match=f"row 1: reason is {word!r}; expected a reason"):
            read_table(tmp_path / "a.csv", REJECTED)


def test_a_clip_is_left_out_of_a_plan_for_a_reason_of_plans(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_table(pd.DataFrame({"id": ["a"], "reason": ["remainder"]}), path, LEFT_OUT)
    write_table(pd.DataFrame({"id": ["a"], "reason": ["remaindr"]}), path)
    with pytest.raises(TableError, match=r"'remaindr'; .*buckets.md lists; did you mean 'remai"):
        read_table(path, LEFT_OUT)


def test_the_status_of_a_foreign_table_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("path,num_frames,height,width,status\na,8,4,4,approved\nb,8,4,4,todo\n")
    assert read_manifest(path, needs_text=False)["path"].tolist() == ["a", "b"]
    path.write_text("path,num_frames,height,width,status,detail\na,8,4,4,ok,\nb,8,4,4,to_short,\n")
    with pytest.raises(TableError, match=r"'to_short'.*did you mean 'too_short'"):
        read_manifest(path, needs_text=False)


def test_text_in_a_number_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_table(scenes(end="soon"), path)
    with pytest.raises(TableError, match=r"row 2: end is 'soon'; expected a number"):
        read_table(path, SCENES)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_bounds_are_finite(value: float) -> None:
    with pytest.raises(ConfigError, match="finite number"):
        parse_filters({"aes": {"min": value}})
