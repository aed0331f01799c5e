"""Rates, seconds, sides and ids as other tools write them: read as meant, or one sentence."""

import json
from pathlib import Path

import pandas as pd
import pytest

from opensora.core.errors import TableError
from opensora.tables.io import read_table
from opensora.tables.manifest import read_manifest

COUNT = 60


def written(folder: Path, **columns: list[str]) -> Path:
    """Sixty clips of 64 frames; columns are cells as they stand in the file."""
    rows = {
        "path": [f"videos/{k:04d}.mp4" for k in range(COUNT)],
        "text": [f"chair number {k} turns" for k in range(COUNT)],
        **{"num_frames": ["64"] * COUNT, "height": ["480"] * COUNT, "width": ["854"] * COUNT},
        "fps": ["24.0"] * COUNT,
    }
    path = folder / "meta.csv"
    pd.DataFrame(rows | columns).to_csv(path, index=False)
    return path


def one_in_row_4(cell: str, others: str) -> list[str]:
    return [cell if k == 3 else others for k in range(COUNT)]


@pytest.mark.parametrize(
    ("cell", "rate"), [("30000/1001", 30000 / 1001), (" 25 / 1", 25.0), ("29.97", 29.97)]
)
def test_a_rate_may_be_a_fraction_as_ffprobe_writes_it(tmp_path, cell, rate) -> None:
    table = read_manifest(written(tmp_path, fps=one_in_row_4(cell, "24")))
    assert table["fps"].tolist() == [24.0] * 3 + [rate] + [24.0] * (COUNT - 4)
    assert table["end"][3] == pytest.approx(64 / rate)


@pytest.mark.parametrize(
    ("name", "cell", "expected"),
    [
        *(("fps", cell, "a number above 0, such as") for cell in ("0", "-25", "inf", "nan", "PAL")),
        *(("fps", cell, "a number above 0, such as") for cell in ("0/0", "30000/0", "1/2/3")),
        *(("start", cell, "seconds of at least 0") for cell in ("-1", "inf", "nan", "00:00:05")),
        *(("end", cell, "seconds of at least start") for cell in ("-2", "inf", "nan", "later")),
        ("split", "holdout", "train, validation or test"),
    ],
)
def test_what_can_not_be_is_named_with_row_column_and_value(tmp_path, name, cell, expected) -> None:
    others = {"fps": "24", "start": "0", "end": "2", "split": "train"}
    path = written(tmp_path, **{name: one_in_row_4(cell, others[name])})
    with pytest.raises(TableError) as caught:
        read_manifest(path)
    # numbers are shown as they were read: -25 stands as -25.0 where the column has fractions
    said = str(caught.value)
    assert f"meta.csv: row 4: {name} is '{cell}" in said
    assert f"'; expected {expected}" in said


def test_a_clip_that_ends_before_it_starts_is_refused(tmp_path) -> None:
    path = written(tmp_path, start=["5"] * COUNT, end=one_in_row_4("4.5", "7"))
    with pytest.raises(TableError, match=r"row 4: end is '4\.5'; expected seconds of at least st"):
        read_manifest(path)


def test_empty_seconds_are_filled_from_frames_and_rate(tmp_path) -> None:
    path = written(tmp_path, start=one_in_row_4("", "1.5"), end=["", "9", *[""] * 58])
    table = read_manifest(path)
    assert table["start"].tolist()[2:5] == [1.5, 0.0, 1.5]
    expected = [1.5 + 64 / 24, 9.0, 1.5 + 64 / 24, 64 / 24]
    assert table["end"].tolist()[:4] == pytest.approx(expected)
    pd.read_csv(path).to_parquet(path.with_suffix(".parquet"))  # only what is asked for is read
    part = read_manifest(path.with_suffix(".parquet"), columns=["end"])
    assert part["end"].tolist() == table["end"].tolist()


@pytest.mark.parametrize(
    ("side", "spellings"),
    [
        ("train", ["train", "Train", "TRAINING", " training ", ""]),
        ("validation", ["validation", "val", "Valid", "DEV", "Validation"]),
        ("test", ["test", "Test", "TEST"]),
    ],
)
def test_known_spellings_of_a_side_are_taken(tmp_path, side, spellings) -> None:
    for spelling in spellings:
        table = read_manifest(written(tmp_path, split=[spelling] * COUNT))
        assert set(table["split"]) == {side}, spelling


def test_an_image_needs_no_rate_in_any_spelling(tmp_path) -> None:
    for cell in ("0", "0/0", ""):
        frames = one_in_row_4("1", "64")
        table = read_manifest(written(tmp_path, num_frames=frames, fps=one_in_row_4(cell, "24")))
        assert table["end"][3] == 0.0


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_ids_and_licences_of_digits_stay_as_they_are(tmp_path, suffix) -> None:
    rows = pd.DataFrame(
        {"id": ["007", "8", "9"], "path": ["a", "b", "c"], "text": "x", "licence": ["007", "", "1"]}
    ).assign(num_frames=8, height=4, width=4)
    path = tmp_path / f"meta.{suffix}"
    if suffix == "csv":
        rows.to_csv(path, index=False)
    elif suffix == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows.to_dict("records")))
    else:
        rows.to_parquet(path)
    table = read_manifest(path)
    assert table["id"].tolist() == ["007", "8", "9"]
    assert table["licence"].tolist() == ["007", "", "1"]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_whole_numbers_as_texts_get_no_fraction_from_a_gap_beside_them(tmp_path, suffix) -> None:
    path = tmp_path / f"meta.{suffix}"
    if suffix == "jsonl":
        path.write_text('{"id": 7, "licence": 1}\n{"id": 8}\n')
    else:
        frame = pd.DataFrame({"id": [7, 8], "licence": pd.array([1, None], dtype="Int64")})
        frame.to_parquet(path)
    table = read_table(path)
    assert table["id"].tolist() == ["7", "8"]
    assert table["licence"].tolist() == ["1", ""]


def test_a_truth_value_is_no_rate(tmp_path) -> None:
    row = {"path": "x.mp4", "text": "x", "num_frames": 8, "height": 4, "width": 4, "fps": True}
    path = tmp_path / "meta.json"
    path.write_text(json.dumps([row]))
    with pytest.raises(TableError, match="row 1: fps is 'True'; expected a number above 0"):
        read_manifest(path)
