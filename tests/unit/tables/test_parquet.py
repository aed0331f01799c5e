"""A flipped bit in a Parquet file of ours is refused, or changes nothing."""

import random
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opensora.core.errors import TableError
from opensora.tables.columns import SCORES
from opensora.tables.io import read_table, write_table
from opensora.tables.parquet import open_rows, read_metadata, read_rows, write_rows

NUM_FLIPS = 1500


@pytest.fixture
def scores() -> pd.DataFrame:
    ids = [f"clip-{k:04d}" for k in range(300)]
    values = [random.Random(k).random() for k in range(300)]
    return pd.DataFrame({"id": ids, "status": "ok", "detail": "", "aes": values})


def test_no_flipped_bit_becomes_other_rows(tmp_path: Path, scores: pd.DataFrame) -> None:
    path = tmp_path / "scores.parquet"
    write_table(scores, path, SCORES)
    written, whole = read_table(path, SCORES), path.read_bytes()
    foot = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    rng = random.Random(0)
    bits = rng.sample(range(foot * 8), NUM_FLIPS) + rng.sample(
        range(foot * 8, len(whole) * 8), NUM_FLIPS
    )
    told = []
    for bit in bits:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            found = read_table(path, SCORES)
        except TableError as error:
            told.append(str(error))
        else:
            pd.testing.assert_frame_equal(found, written, obj=f"after bit {bit}")
    assert all(sentence.startswith(f"{path}: ") for sentence in told)
    assert len(told) > NUM_FLIPS  # what is left are statistics that nobody here reads, and padding


def test_a_file_that_was_cut_is_refused(tmp_path: Path, scores: pd.DataFrame) -> None:
    path = tmp_path / "scores.parquet"
    write_table(scores, path, SCORES)
    whole = path.read_bytes()
    for length in (0, 1, 4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(TableError, match=r"not a readable table .*rule score_clips"):
            read_table(path, SCORES)


def test_notes_are_sealed_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = pa.table({"n": [1, 2]}, metadata={b"seed": b"7"})
    write_rows(rows, path)
    assert read_metadata(path)[b"seed"] == b"7"
    again = read_rows(path)  # to read and write is no change
    write_rows(again, tmp_path / "b.parquet")
    assert (tmp_path / "b.parquet").read_bytes() == path.read_bytes()
    forged = {**again.schema.metadata, b"seed": b"8"}
    pq.write_table(again.replace_schema_metadata(forged), path)
    with pytest.raises(ValueError, match="not those that were written"), open_rows(path):
        pass


def test_files_of_others_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": [1, 2]}, metadata={b"seed": b"7"}), path)
    assert read_rows(path, ["n", "m"]).to_pydict() == {"n": [1, 2]}
