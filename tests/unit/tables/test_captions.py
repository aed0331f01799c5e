"""Tables with several captions of a clip."""

from pathlib import Path

import pandas as pd
import pytest

from opensora.core.errors import TableError
from opensora.tables.captions import check_numbers, first_captions, read_all_captions
from opensora.tables.columns import CAPTIONS
from opensora.tables.io import write_table


def captions(*rows: tuple[str, int, str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["id", "k", "text", "status"])
    return frame.assign(caption=frame["text"], text_len=1, detail="")


ROWS = (
    ("a", 0, "a dog", "ok"),
    ("a", 1, "it runs", "ok"),
    ("a", 2, "", "no_caption"),
    ("b", 0, "a cat", "ok"),
    ("c", 0, "", "no_caption"),
)


def test_caption_0_speaks_for_the_clip() -> None:
    table = captions(*ROWS)
    assert first_captions(table)["text"].tolist() == ["a dog", "a cat", ""]
    old = captions(*ROWS[3:]).drop(columns="k")
    assert first_captions(old) is old
    mixed = pd.concat([table, old.assign(id=["x", "y"])], ignore_index=True)  # k is empty there
    assert first_captions(mixed)["id"].tolist() == ["a", "b", "c", "x", "y"]


def test_a_number_that_is_there_twice_is_refused() -> None:
    check_numbers(captions(*ROWS))
    with pytest.raises(TableError, match="the id 'a' has caption 1 twice"):
        check_numbers(captions(*ROWS, ROWS[1]))


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    """Two shards; the second has one caption a clip and was made without numbers."""
    write_table(captions(*ROWS), tmp_path / "0.parquet", CAPTIONS)
    other = captions(("d", 0, "a bird", "ok")).drop(columns="k")
    write_table(other, tmp_path / "1.parquet", CAPTIONS)
    return [tmp_path / "0.parquet", tmp_path / "1.parquet"]


CLIPS = pd.DataFrame({"id": ["d", "b", "a"], "text": ["a bird", "a cat", "a dog"]})
CLIPS["num_captions"] = [1, 1, 2]


def test_all_good_captions_of_the_clips_of_a_manifest(tables: list[Path]) -> None:
    found = read_all_captions(CLIPS, tables)
    assert found[["id", "k", "text"]].to_numpy().tolist() == [
        ["d", 0, "a bird"],
        ["b", 0, "a cat"],
        ["a", 0, "a dog"],
        ["a", 1, "it runs"],
    ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"num_captions": [1, 1, 3]}, "'a' are not those of the manifest .2 there, 3 here"),
        ({"text": ["a bird", "a lion", "a dog"]}, "'b' are not those of the manifest"),
        ({"id": ["d", "gone", "a"]}, "'gone' are not those of the manifest .0 there"),
    ],
)
def test_tables_of_another_manifest_are_refused(
    tables: list[Path], change: dict[str, list], told: str
) -> None:
    with pytest.raises(TableError, match=told):
        read_all_captions(CLIPS.assign(**change), tables)
