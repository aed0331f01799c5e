"""Cells of our own tables that cannot be: one sentence with row and column."""

from pathlib import Path

import pandas as pd
import pytest

from opensora.core.errors import ConfigError, TableError
from opensora.curation.manifest.filters import parse_filters
from opensora.tables.columns import SCENES
from opensora.tables.io import read_table, write_table


def scenes(**cells: object) -> pd.DataFrame:
    good = dict.fromkeys(SCENES.columns, "") | {"start": 0.0, "end": 1.5, "status": "ok"}
    good |= {"start_frame": 0, "end_frame": 12}
    return pd.DataFrame([good, {**good, **cells}])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_good_marks_and_empty_numbers_pass(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write_table(scenes(status="aes_too_low", end=None), path, SCENES)
    assert len(read_table(path, SCENES)) == 2


@pytest.mark.parametrize("word", ["OK", "", "fine!", "not ok"])
def test_a_word_that_is_no_mark_is_refused(tmp_path: Path, word: str) -> None:
    path = tmp_path / "a.csv"
    write_table(scenes(status=word), path, SCENES)
    with pytest.raises(TableError, match=r"a\.csv: row 2: status is .*expected 'ok'"):
        read_table(path, SCENES)


def test_text_in_a_number_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_table(scenes(end="soon"), path)
    with pytest.raises(TableError, match=r"row 2: end is 'soon'; expected a number"):
        read_table(path, SCENES)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_bounds_are_finite(value: float) -> None:
    with pytest.raises(ConfigError, match="finite number"):
        parse_filters({"aes": {"min": value}})
