import os
from pathlib import Path

import pandas as pd
import pytest

from opensora.core.errors import TableError
from opensora.curation.ingest import ends
from opensora.curation.ingest.discovery import find_media, shard_listings, shard_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.png of 1 byte, b/film.mp4 of 2, notes.txt, captions.csv."""
    root = tmp_path / "raw"
    (root / "b").mkdir(parents=True)
    (root / "a.png").write_bytes(b"1")
    (root / "b" / "film.mp4").write_bytes(b"22")
    (root / "notes.txt").write_text("notes")
    (root / "captions.csv").write_text("path,text\n")
    return root


def names(*inputs: str | Path) -> list[str]:
    return [os.path.basename(path) for path in find_media(inputs).files]


def test_files_that_are_no_media_are_counted(folder: Path) -> None:
    assert find_media([folder]).ignored == {".txt": 1, ".csv": 1}


def test_globs_folders_and_files_mix_without_repeats(folder: Path) -> None:
    inputs = [folder / "a.png", str(folder / "*.png"), folder / "b", folder / "notes.txt"]
    assert names(*inputs) == ["a.png", "film.mp4", "notes.txt"]


def test_a_folder_is_walked_folder_by_folder(tmp_path: Path) -> None:
    for name in ("a/z.mp4", "a-b/y.mp4", "a/b/x.mp4", "c.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path) == ["x.mp4", "z.mp4", "y.mp4", "c.mp4"]


def test_names_that_look_like_patterns_or_options_are_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("[1].mp4", "-rf.mp4", "a*.mp4"):
        Path(name).touch()
    assert names("[1].mp4", "-rf.mp4", "a*.mp4") == ["[1].mp4", "-rf.mp4", "a*.mp4"]


def test_lists_name_files_beside_themselves(folder: Path) -> None:
    (folder / "list.csv").write_text("path\nb/film.mp4\n./b//film.mp4\ngone.mp4\n")
    assert list(find_media([folder / "list.csv"]).files) == [
        f"{folder}/b/film.mp4",
        f"{folder}/gone.mp4",
    ]
    table = pd.DataFrame({"path": ["a.png"], "licence": ["MIT"], "license": ["other"]})
    table.to_parquet(folder / "list.parquet")
    assert find_media([folder / "list.parquet"]).files == {f"{folder}/a.png": "MIT"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"file\na.mp4\n", "column 'path'"),
        (b'path\na.mp4\n""\n', "row 2 has an empty path"),
        (b"path\nfilm.mp4\ncaf\xe9.mp4\n", "byte 17 is not UTF-8"),
        (b"", "not a readable table"),
    ],
)
def test_lists_that_are_none_are_one_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(TableError, match=words):
        find_media([tmp_path / "list.csv"])


def test_a_list_of_a_million_rows_is_read(tmp_path: Path) -> None:
    paths = pd.Series(range(1_000_000)).astype(str) + ".mp4"
    pd.DataFrame({"path": paths, "text": "=cmd()"}).to_csv(tmp_path / "list.csv", index=False)
    found = find_media([tmp_path / "list.csv"])
    assert len(found.files) == 1_000_000
    assert next(reversed(found.files)) == f"{tmp_path}/999999.mp4"


def test_shards_part_the_files(folder: Path) -> None:
    for size in range(3, 40):
        (folder / f"{size}.mp4").write_bytes(bytes(size))
    found = find_media([folder])
    parts = [found.shard(number, 4) for number in range(4)]
    assert sorted(path for part in parts for path in part.files) == sorted(found.files)
    assert all(part.files for part in parts)


def test_files_of_equal_size_are_spread_and_equal_files_meet(tmp_path: Path) -> None:
    for k in range(40):
        pixels = bytes([k]) * 9000
        (tmp_path / f"{k}.bmp").write_bytes(b"BM" + pixels)
        (tmp_path / f"copy{k}.bmp").write_bytes(b"BM" + pixels)
    shards = [shard_of(f"{tmp_path}/{k}.bmp", 4) for k in range(40)]
    assert min(shards.count(number) for number in range(4)) >= 3
    assert [shard_of(f"{tmp_path}/copy{k}.bmp", 4) for k in range(40)] == shards


def test_the_last_bytes_count_too(tmp_path: Path) -> None:
    for k in range(20):
        (tmp_path / f"{k}.bmp").write_bytes(bytes(20_000) + bytes([k]))
    assert len({shard_of(f"{tmp_path}/{k}.bmp", 1000) for k in range(20)}) > 15


def test_a_listing_opens_new_and_changed_files_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def read(path: str, size: int, mtime_ns: int) -> str:
        opened.append(Path(path).name)
        return f"{path} {size}"

    monkeypatch.setattr(ends, "_read_mark", read)
    kept = folder.parent / "store" / "shards.jsonl"
    first = shard_listings([folder], 10, listing=kept)
    assert len(opened) == len(find_media([folder]).files)
    opened.clear()
    assert shard_listings([folder], 10, listing=kept) == first
    assert opened == []
    (folder / "new.mp4").write_bytes(b"new")
    os.utime(folder / "a.png", ns=(7, 7))
    shard_listings([folder], 10, listing=kept)
    assert sorted(opened) == ["a.png", "new.mp4"]
    (folder / "new.mp4").unlink()
    (folder / "b" / "film.mp4").touch()
    kept.write_text(kept.read_text() + '["cut')  # a damaged line costs itself
    shard_listings([folder], 10, listing=kept)
    assert "new.mp4" not in kept.read_text()


def test_the_shard_follows_the_content_and_without_a_file_the_name(folder: Path) -> None:
    (folder / "twin.mkv").write_bytes(b"22")
    assert shard_of(f"{folder}/twin.mkv", 1000) == shard_of(f"{folder}/b/film.mp4", 1000)
    gone = [shard_of(f"{folder}/gone{k}.mp4", 1000) for k in range(9)]
    assert len(set(gone)) > 5


def changed(folder: Path, before: list[str]) -> list[int]:
    after = shard_listings([folder], len(before))
    return [k for k, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]


def test_a_listing_changes_in_the_shard_of_the_file_that_changed(folder: Path) -> None:
    before = shard_listings([folder], 100)
    assert changed(folder, before) == []
    (folder / "notes.txt").write_text("no media, so it matters nowhere")
    assert changed(folder, before) == []
    (folder / "new.mp4").write_bytes(b"55555")
    assert changed(folder, before) == [shard_of(f"{folder}/new.mp4", 100)]
    (folder / "new.mp4").unlink()
    assert changed(folder, before) == []
    os.utime(folder / "a.png", ns=(1, 1))
    assert changed(folder, before) == [shard_of(f"{folder}/a.png", 100)]


@pytest.mark.parametrize("name", ["a.json", "a.TXT", "a.Json"])
def test_a_listing_of_what_lies_beside_sees_the_captions_alone(folder: Path, name: str) -> None:
    def listing() -> list[str]:
        return shard_listings([folder], 100, beside=[".txt", ".json"])

    before = listing()
    os.utime(folder / "a.png", ns=(1, 1))
    assert listing() == before
    (folder / name).write_text('{"text": "a ramp"}')
    after = listing()
    own = shard_of(f"{folder}/a.png", 100)
    assert [k for k in range(100) if before[k] != after[k]] == [own]
    (folder / name).write_text('{"text": "a long ramp"}')
    assert listing() not in (before, after)
