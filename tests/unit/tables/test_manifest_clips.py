import logging

import pandas as pd
import pytest

from opensora.core.errors import TableError
from opensora.plans.stage_plan import training_clips
from opensora.tables.manifest import read_manifest

GOOD = {
    "id": ["a", "b", "c"],
    "path": ["a.mp4", "b.mp4", "c.mp4"],
    "text": ["one", "two", "three"],
    "num_frames": [16, 16, 1],
    "height": [32, 32, 32],
    "width": [32, 40, 32],
}


def written(tmp_path, **columns):
    path = tmp_path / "manifest.csv"
    pd.DataFrame({**GOOD, **columns}).to_csv(path, index=False)
    return path


def test_a_manifest_with_only_the_needed_columns_is_read(tmp_path):
    clips = read_manifest(written(tmp_path))
    assert clips["id"].tolist() == ["a", "b", "c"]
    assert clips["split"].tolist() == ["train"] * 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a", "b", "a"]}, r"manifest\.csv: row 3: id 'a' is there twice"),
        ({"id": ["a", "", "c"]}, r"manifest\.csv: row 2: id '' is empty"),
        ({"height": [32, -32, 32]}, r"manifest\.csv: row 2: height is '-32'"),
        ({"width": [32, "wide", 32]}, r"manifest\.csv: row 2: width is 'wide'"),
        ({"num_frames": [16, None, 16]}, r"manifest\.csv: row 2: num_frames is 'nan'"),
        ({"num_frames": [16, 16, 1.5]}, r"manifest\.csv: row 3: num_frames is '1.5'"),
    ],
)
def test_what_no_plan_can_be_made_of_names_row_and_column(tmp_path, columns, message):
    with pytest.raises(TableError, match=message):
        read_manifest(written(tmp_path, **columns))


def test_scores_without_a_value_are_warned_about_once_per_column(tmp_path, caplog):
    path = written(tmp_path, aes=[5.0, None, None], flow=[1.0, 2.0, 3.0], licence=["x", "", ""])
    with caplog.at_level(logging.WARNING):
        assert len(training_clips(read_manifest(path))) == 3
    (record,) = [r for r in caplog.records if "fps" not in r.message]
    assert "aes has no value in 2 rows, the first is row 2 (id 'b')" in record.getMessage()
