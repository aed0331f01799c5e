import os
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
from av.video.reformatter import ColorPrimaries, ColorTrc
from PIL import Image

import opensora.curation.ingest.ingest_videos as ingest_module
from opensora.core.errors import TableError
from opensora.curation.ingest.ingest_videos import ingest_videos, write_shards
from opensora.curation.ingest.probing import probe_limit_s, probe_row
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


@pytest.mark.parametrize(
    ("name", "words"),
    [("nowhere", "no such file"), ("*.mkv", "matches no file"), ("b", "no video or image")],
)
def test_inputs_without_media_are_one_clear_error(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(TableError, match=words):
        ingest_videos([tmp_path / name])


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


def test_a_shard_alone_has_the_rows_that_all_shards_together_give_it(
    world: Path, tmp_path: Path
) -> None:
    write_shards(ingest_videos([world]), tmp_path / "shards", 3)
    for number in range(3):
        alone = ingest_videos([world], shard=(number, 3))
        expected = read_table(tmp_path / "shards" / f"{number:04d}.csv")
        pd.testing.assert_frame_equal(alone, expected, check_dtype=False)


def test_copies_meet_in_one_shard_wherever_they_lie(world: Path) -> None:
    status = [list(ingest_videos([world], shard=(k, 50))["status"]) for k in range(50)]
    together = next(found for found in status if "duplicate" in found)
    assert "ok" in together


def test_a_new_video_changes_one_shard_and_leaves_the_other_files_alone(
    world: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    for path in folder.parent.glob("shards/*"):
        path.unlink()
    write_shards(ingest_videos([world]), folder, 8)
    before = {path.name: path.stat() for path in folder.iterdir()}
    Image.fromarray(np.full((9, 9, 3), 7, np.uint8)).save(world / "new.png")
    write_shards(ingest_videos([world]), folder, 8)
    after = {path.name: path.stat() for path in folder.iterdir()}
    changed = {name for name in after if after[name].st_mtime_ns != before[name].st_mtime_ns}
    assert len(changed) == 1
    assert "new.png" in (folder / changed.pop()).read_text()
    assert len(after) == 8


def test_what_a_file_is_stands_in_its_row(
    tmp_path: Path, uneven_video: tuple[Path, list[float]]
) -> None:
    turned = tmp_path / "turned.mp4"
    with av.open(str(turned), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv444p10le"
        stream.set_display_rotation(90)
        context = stream.codec_context
        context.color_trc, context.color_primaries = ColorTrc.SMPTE2084, ColorPrimaries.BT2020
        for _ in range(3):
            pixels = np.zeros((32, 48, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    columns = ["height", "width", "pixel_format", "rotation", "variable_frame_rate", "hdr"]
    videos = ingest_videos([turned, uneven_video[0]])[columns]
    assert videos.to_numpy().tolist() == [
        [48, 32, "yuv444p10le", 90, 0, 1],
        [64, 64, "yuv420p", 0, 1, 0],
    ]
    # 24 frames in one second, the others a quarter each; the last one stands as long as most
    duration = ingest_videos([uneven_video[0]])["duration"].iloc[0]
    assert duration == pytest.approx(1 + 23 / 4 + 0.145, abs=0.11)


def test_a_list_tells_licences(world: Path) -> None:
    listing = world / "list.csv"
    listing.write_text("path,license,text\nb/film.mp4,CC-BY-4.0,=cmd()\na.png,,\n")
    assert list(ingest_videos([listing])["licence"]) == ["CC-BY-4.0", ""]
    assert set(ingest_videos([world])["licence"]) == {""}


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(world: Path, workers: int) -> None:
    pd.testing.assert_frame_equal(ingest_videos([world], workers=workers), ingest_videos([world]))


def test_a_file_that_takes_too_long_gets_a_row_and_the_others_theirs(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(world / "endless.mp4", "wb") as file:
        file.truncate(2**33)  # 8 GB of zeros that take no space, seconds to hash

    def limit(path: str, timeout_s: float) -> float:
        return 0.3 if "endless" in path else timeout_s

    monkeypatch.setattr(ingest_module, "probe_limit_s", limit)
    videos = ingest_videos([world])
    assert videos["status"].value_counts().to_dict() == {
        **{"ok": 2, "not_a_video": 1, "duplicate": 1, "timeout": 1}
    }
    lost = videos[videos["status"] == "timeout"].iloc[0]
    assert lost["path"] == str(world / "endless.mp4")
    assert lost["detail"].startswith("endless.mp4: not done after 0 s")


def test_a_large_file_has_more_time(world: Path) -> None:
    with open(world / "large.mp4", "wb") as file:
        file.truncate(1_000_000_000)
    assert probe_limit_s(str(world / "large.mp4"), 60.0) == pytest.approx(260.0)  # 5 MB a second
    assert probe_limit_s(str(world / "gone.mp4"), 60.0) == 60.0


def test_what_nobody_expected_is_the_reason_of_its_row(
    world: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ingest_module, "probe_row", _raise_over_text)
    journal = tmp_path / "journal"
    videos = ingest_videos([world], journal=journal).set_index("path")
    row = videos.loc[str(world / "text.mp4")]
    assert row["status"] == "unexpected_error"
    assert row["detail"] == r"text.mp4: AttributeError: no codec\x0a"
    assert (videos["status"] == "ok").sum() == 2
    assert "ingest_videos unexpected_error rows=1 AttributeError=1" in caplog.text
    assert "text.mp4" not in journal.read_text()  # the next version may read it


def _raise_over_text(path: str) -> dict[str, Any]:
    """Stands in for the probe, in a worker process."""
    if "text" in path:
        raise AttributeError("no codec\n")
    return probe_row(path)
