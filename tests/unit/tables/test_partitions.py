"""A manifest in a folder, one partition a shard."""

import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opensora.core.errors import ConfigError, TableError
from opensora.tables import manifest as manifests
from opensora.tables.columns import CAPTIONS, MANIFEST
from opensora.tables.io import write_table
from opensora.tables.manifest import fill_manifest, read_manifest, write_manifest_csv
from opensora.tables.parquet import SEAL
from opensora.tables.part_index import INDEX, write_index
from opensora.tables.partitions import read_parts, shard_names, tables_of_shards, write_parts


def clips(count: int = 4) -> pd.DataFrame:
    names = [f"c{k}" for k in range(count)]
    facts = {"id": names, "path": names, "text": "a box", "num_frames": 8, "height": 4, "width": 6}
    return fill_manifest(pd.DataFrame(facts)).assign(flow=[None, *range(1, count)], note=None)


def write(folder: Path, parts: list[str], num_shards: int = 3) -> pd.DataFrame:
    frame = clips(len(parts))
    write_parts(frame, folder, MANIFEST, pd.Series(parts), shard_names(num_shards))
    return frame


def test_each_clip_tells_its_shard_and_is_what_it_was(tmp_path: Path) -> None:
    frame = write(tmp_path, ["0002", "0000", "0002", "0000"])
    again = read_manifest(tmp_path)
    assert again["shard"].dtype == "int64"
    assert again["shard"].tolist() == [0, 0, 2, 2]
    assert list(again.columns) == [*frame.columns, "shard"]
    expected = frame.loc[[1, 3, 0, 2]].reset_index(drop=True).assign(note=float("nan"))
    pd.testing.assert_frame_equal(again.drop(columns="shard"), expected, check_dtype=False)


def test_partitions_have_one_schema_empty_or_not(tmp_path: Path) -> None:
    write(tmp_path, ["0002", "0000", "0002", "0000"])
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["0000.parquet", "0001.parquet", "0002.parquet"]
    schemas = [pq.read_schema(file) for file in files]
    first, *others = schemas
    assert all(other.equals(first) for other in others)
    notes = [{key: note for key, note in s.metadata.items() if key != SEAL} for s in schemas]
    assert notes == [notes[0]] * len(files)
    assert "shard" not in first.names
    assert [pq.read_metadata(file).num_rows for file in files] == [2, 0, 2]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / name, ["0002", "0000", "0002", "0000"])
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_fewer_shards_leave_none_of_before(tmp_path: Path) -> None:
    write(tmp_path, ["0002", "0001", "0000"])
    write(tmp_path, ["0000", "0000"], num_shards=1)
    assert [file.name for file in tmp_path.iterdir()] == ["0000.parquet"]


def test_a_folder_with_other_tables_is_left_alone(tmp_path: Path) -> None:
    captions = pd.DataFrame([("a", "T.", "t", 1, "ok", "")], columns=list(CAPTIONS.columns))
    write_table(captions, tmp_path / "0000.parquet", CAPTIONS)
    before = (tmp_path / "0000.parquet").read_bytes()
    with pytest.raises(TableError, match="is no partition of a table manifest; give a folder"):
        write(tmp_path, ["0000"])
    assert (tmp_path / "0000.parquet").read_bytes() == before


def test_one_file_has_no_shards(tmp_path: Path) -> None:
    for name in ("m.csv", "m.parquet"):
        write_parts(clips().assign(shard=3), tmp_path / name, MANIFEST, pd.Series(), [])
        assert "shard" not in read_manifest(tmp_path / name)


@pytest.mark.parametrize("form", ["folder", "m.parquet", "m.csv"])
def test_a_stage_reads_only_what_it_needs(form: str, tmp_path: Path) -> None:
    target = tmp_path / form
    target = target / "manifest" if form == "folder" else target
    write_parts(clips(), target, MANIFEST, pd.Series(["0000"] * 4), ["0000"])
    some = read_manifest(target, columns=["text_len", "end", "note"])
    always = ["id", "num_frames", "height", "width"]
    shard = ["shard"] if form == "folder" else []
    assert set(some.columns) == {*always, "text_len", "end", "note", *shard}
    assert some["text_len"].tolist() == [2] * 4
    assert some["end"].tolist() == [8 / 24] * 4


def test_partitions_of_other_projects_are_read(tmp_path: Path) -> None:
    """One has no value in a column, and so no type; paths and texts have other names."""
    sizes = {"num_frames": [8], "height": [4], "width": [4]}
    for k, aes in enumerate((None, 5.5)):
        rows = {"video": [f"{k}.mp4"], "caption": ["hi"], **sizes, "aes": [aes]}
        pq.write_table(pa.table(rows), tmp_path / f"train-0000{k}-of-00002.parquet")
    (tmp_path / ".0000.1234abcd.parquet").write_text("left by a job that was killed")
    again = read_manifest(tmp_path)
    assert again["path"].tolist() == ["0.mp4", "1.mp4"]
    assert again["shard"].tolist() == [0, 1]
    assert again["aes"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "no partition of a table in it"),
        ({"all": {"id": ["a"]}}, r"all\.parquet: a partition is named by its number"),
        ({"0": {"id": ["a"]}, "00": {"id": ["b"]}}, r"00\.parquet: has the number of 0\.parquet"),
        ({"0": {"id": ["a"]}, "1": {"x": ["b"]}}, r"1\.parquet: only 0\.parquet or it has .* 'id'"),
        ({"0": {"id": ["a"]}, "1": {"id": [[1]]}}, "the partitions do not fit together"),
    ],
)
def test_a_folder_that_is_no_table_is_one_sentence(
    files: dict[str, dict[str, list[object]]], sentence: str, tmp_path: Path
) -> None:
    for name, rows in files.items():
        pq.write_table(pa.table(rows), tmp_path / f"{name}.parquet")
    with pytest.raises(TableError, match=sentence):
        read_parts(tmp_path)


def test_a_damaged_partition_is_named(tmp_path: Path) -> None:
    (tmp_path / "0000.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(TableError, match=r"0000\.parquet: not a readable table"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("rows", "when", "there"),
    [(2, "auto", True), (3, "auto", False), (3, "always", True), (1, "never", False)],
)
def test_a_large_manifest_is_no_csv_unless_asked_for(
    rows: int,
    when: str,
    there: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(manifests, "CSV_ROWS", 2)
    path = tmp_path / "manifest.csv"
    path.write_text("of an older manifest")
    with caplog.at_level(logging.INFO):
        write_manifest_csv(clips(rows), path, when)
    assert path.is_file() == there
    if there:
        assert read_manifest(path)["id"].tolist() == [f"c{k}" for k in range(rows)]
    assert [record.getMessage() for record in caplog.records] == (
        [] if there else [f"manifest csv={path} left_out rows={rows} most=2 when={when}"]
    )


def test_one_word_stands_for_the_tables_of_all_shards() -> None:
    words = ["a.csv", "technical=scores/{shard}.parquet"]
    assert tables_of_shards(words, 2, "--scores") == [
        *("a.csv", "technical=scores/0000.parquet", "technical=scores/0001.parquet")
    ]
    assert tables_of_shards(["a.csv"], None, "--clips") == ["a.csv"]
    with pytest.raises(ConfigError, match=r"--clips c/\{shard\}\.csv: give --num-shards N too"):
        tables_of_shards(["c/{shard}.csv"], None, "--clips")


def test_an_index_tells_which_partitions_there_are(tmp_path: Path) -> None:
    folder = tmp_path / "manifest"
    frame = clips()
    for last in ("0001", "0002"):  # the index changes with any partition, and with nothing else
        for turn in range(2):
            parts = pd.Series(["0000", "0000", "0001", last])
            write_parts(frame, folder, MANIFEST, parts, shard_names(3), index=True)
            (folder / INDEX).rename(tmp_path / f"{last}-{turn}.json")
    texts = [file.read_text() for file in sorted(tmp_path.glob("*.json"))]
    assert texts[0] == texts[1] != texts[2] == texts[3]

    (tmp_path / "0002-1.json").rename(folder / INDEX)
    assert len(read_manifest(folder)) == 4
    (folder / "0002.parquet").rename(folder / "0003.parquet")
    with pytest.raises(TableError, match=r"0002\.parquet: is missing; .*--forcerun build_manifest"):
        read_manifest(folder)
    assert len(read_manifest(folder, shard=0)) == 2  # a job of one shard reads its own
    write_parts(frame, folder, MANIFEST, pd.Series(["0000"] * 4), shard_names(1))
    assert not (folder / INDEX).exists()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda text: text[:-9], r"index\.json: is not what was written; make it anew"),
        (lambda text: text.replace("bytes", "bites"), r"index\.json: is not what was written"),
        (lambda text: "[]", r"index\.json: is not what was written"),
        (lambda text: text, r"0001\.parquet: is not what .*index\.json names"),
    ],
)
def test_another_partition_or_index_than_was_written_is_one_sentence(
    damage: Callable[[str], str], sentence: str, tmp_path: Path
) -> None:
    write(tmp_path, ["0000", "0001"], num_shards=2)
    index = tmp_path / INDEX
    write_index(index, sorted(tmp_path.glob("*.parquet")))
    index.write_text(damage(index.read_text()))
    write_table(clips(9), tmp_path / "0001.parquet", MANIFEST)
    with pytest.raises(TableError, match=sentence):
        read_manifest(tmp_path)
