import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from opensora.core.errors import TableError
from opensora.curation.ingest import find_media, ingest_videos, write_shards
from opensora.tables.io import read_table


@pytest.fixture
def world(tmp_path: Path, tiny_video: Path) -> Path:
    """b/film.mp4, a.png, an exact copy of the film, a text file named .mp4, and two non-media."""
    folder = tmp_path / "raw"
    (folder / "b").mkdir(parents=True)
    shutil.copy(tiny_video, folder / "b" / "film.mp4")
    shutil.copy(tiny_video, folder / "z_copy.MP4")
    (folder / "text.mp4").write_text("not a video " * 20)
    (folder / "notes.txt").write_text("notes")
    (folder / "captions.csv").write_text("path,text\n")
    Image.fromarray(np.full((30, 20, 3), 90, np.uint8)).save(folder / "a.png")
    return folder


def test_every_media_file_gets_one_row_in_sorted_order(world: Path) -> None:
    videos = ingest_videos([world])
    assert [Path(path).name for path in videos["path"]] == [
        *("a.png", "film.mp4", "text.mp4", "z_copy.MP4")
    ]
    assert list(videos["status"]) == ["ok", "ok", "not_a_video", "duplicate"]
    film = videos.iloc[1]
    assert (film["num_frames"], film["fps"], film["duration"]) == (48, 8.0, 6.0)
    assert (film["height"], film["width"], film["aspect_ratio"]) == (40, 64, 0.625)
    image = videos.iloc[0]
    assert (image["kind"], image["num_frames"], image["fps"], image["aspect_ratio"]) == (
        *("image", 1, 1.0, 1.5),
    )
    assert str(world / "b" / "film.mp4") in videos["detail"].iloc[3]
    assert videos["id"].is_unique


def test_files_that_are_no_media_are_counted(world: Path) -> None:
    assert find_media([world]).ignored == {".txt": 1, ".csv": 1}


def test_an_id_follows_the_content_not_the_place(world: Path, tmp_path: Path) -> None:
    before = ingest_videos([world / "b"])["id"].iloc[0]
    shutil.move(world / "b", tmp_path / "elsewhere")
    assert ingest_videos([tmp_path / "elsewhere"])["id"].iloc[0] == before


def test_a_loop_of_links_ends(world: Path) -> None:
    os.symlink(world, world / "b" / "again")
    assert len(ingest_videos([world])) == 4


def test_a_broken_link_gets_a_row(world: Path) -> None:
    os.symlink(world / "nowhere.mp4", world / "b" / "lost.mp4")
    videos = ingest_videos([world / "b"])
    assert dict(zip(videos["path"].map(os.path.basename), videos["status"], strict=True)) == {
        "film.mp4": "ok",
        "lost.mp4": "missing",
    }


def test_a_name_that_no_table_can_hold_gets_a_row(world: Path, tmp_path: Path) -> None:
    os.rename(world / "b" / "film.mp4", os.fsencode(world / "b") + b"/bad\xff.mp4")
    videos = ingest_videos([world / "b"])
    assert list(videos["status"]) == ["unreadable_name"]
    write_shards(videos, tmp_path / "shards", 1)
    assert read_table(tmp_path / "shards" / "0000.csv")["path"].iloc[0].endswith("bad\ufffd.mp4")


def test_a_list_names_files_relative_to_its_own_folder(world: Path) -> None:
    listing = world / "list.csv"
    listing.write_text("path,text\nb/film.mp4,a film\ngone.mp4,\n")
    videos = ingest_videos([listing])
    assert list(videos["status"]) == ["ok", "missing"]


def test_globs_folders_and_files_mix_without_repeats(world: Path) -> None:
    found = find_media([world / "a.png", str(world / "*.png"), world / "b", world / "notes.txt"])
    assert [path.name for path in found.paths] == ["a.png", "film.mp4", "notes.txt"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("nowhere", "no such file"), ("*.mkv", "matches no file"), ("b", "no video or image")],
)
def test_inputs_without_media_are_one_clear_error(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(TableError, match=words):
        ingest_videos([tmp_path / name])


def test_a_list_without_a_path_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file\na.mp4\n")
    with pytest.raises(TableError, match="column 'path'"):
        ingest_videos([tmp_path / "list.csv"])


def test_shards_hold_every_row_once_and_exist_when_empty(world: Path, tmp_path: Path) -> None:
    videos = ingest_videos([world])
    counts = write_shards(videos, tmp_path / "shards", 16)
    paths = sorted((tmp_path / "shards").iterdir())
    assert [path.name for path in paths] == [f"{k:04d}.csv" for k in range(16)]
    shards = [read_table(path) for path in paths]
    assert [len(shard) for shard in shards] == counts
    assert 0 in counts
    together = pd.concat(shards)
    assert sorted(together["id"]) == sorted(videos["id"])
