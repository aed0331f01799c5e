"""Every bad file gets a row that says why, every odd but good one becomes a clip."""

from pathlib import Path

import pandas as pd
import pytest

from opensora.media.probe import probe

from .conftest import Run
from .files import NAMES

REFUSED = {  # name -> status in the table of videos
    "zero.mp4": "empty_file",
    "text.mp4": "not_a_video",
    "audio.mp4": "no_video_stream",
    "truncated.mp4": "corrupt",
    "self.mp4": "missing",
}
SHORT = ("one_frame.mp4", "rate10000.mp4")
GOOD = {  # name -> pixel format, and height and width of the clip
    "one_pixel.mkv": ("bgr0", 2, 2),
    "odd.mkv": ("bgr0", 32, 34),
    "wide.mkv": ("bgr0", 2, 4000),
    "portrait.mp4": ("yuv420p", 64, 48),
    "uneven.mkv": ("yuv420p", 48, 64),
    "ten_bit.mp4": ("yuv420p10le", 48, 64),
    "full_chroma.mp4": ("yuv444p", 48, 64),
    "mpeg4.avi": ("yuv420p", 48, 64),
    "h264.mkv": ("yuv420p", 48, 64),
    "vp9.webm": ("yuv420p", 48, 64),
    "av1.mkv": ("yuv420p", 48, 64),
    "moving.gif": ("bgra", 48, 64),
}


def video(world: Run, name: str) -> pd.Series:
    videos = world.table("videos")
    rows = videos[videos["path"] == f"{world.folder}/raw/{name}"]
    assert len(rows) == 1
    return rows.iloc[0]


def clips(world: Run, name: str) -> pd.DataFrame:
    table = world.table("clips")
    return table[table["video_id"] == video(world, name)["id"]]


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_file_has_a_row_with_its_reason(world: Run, name: str) -> None:
    row = video(world, name)
    assert row["status"] == REFUSED[name]
    assert name in row["detail"]
    assert list(clips(world, name)["status"]) == [REFUSED[name]]


@pytest.mark.parametrize("name", SHORT)
def test_a_blink_is_too_short(world: Run, name: str) -> None:
    assert video(world, name)["status"] == "ok"
    assert list(clips(world, name)["status"]) == ["too_short"]


@pytest.mark.parametrize("name", GOOD)
def test_an_odd_file_becomes_a_clip(world: Run, name: str) -> None:
    pixels, height, width = GOOD[name]
    assert video(world, name)["pixel_format"] == pixels
    clip = clips(world, name).iloc[0]
    assert (clip["status"], clip["height"], clip["width"]) == ("ok", height, width)
    info = probe(clip["path"])
    assert (info.height, info.width, info.num_frames) == (height, width, clip["num_frames"])
    assert (info.codec, info.pixel_format, info.rotation) == ("h264", "yuv420p", 0)


def test_uneven_footage_lasts_as_long_as_it_did(world: Run) -> None:
    row, clip = video(world, "uneven.mkv"), clips(world, "uneven.mkv").iloc[0]
    # frames stand for 1 and 5 twentieths of a second in turn, the last as long as most
    assert row["variable_frame_rate"] == 1
    assert row["duration"] == pytest.approx(4 * 0.3 + 0.05 + 0.05, abs=0.26)
    assert clip["num_frames"] / clip["fps"] == pytest.approx(row["duration"], abs=0.2)


def test_damage_in_the_middle_costs_what_lies_behind_it(world: Run) -> None:
    found = clips(world, "holes.mp4")
    assert list(found["status"]) == ["ok", "corrupt"]
    assert found["end"].iloc[0] == found["start"].iloc[1] <= 4.0  # packet 40 of 60 at 10 a second
    assert found["end"].iloc[1] == 6.0


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_only_a_name(world: Run, name: str) -> None:
    clip = clips(world, name).iloc[0]
    assert clip["status"] == "ok"
    assert clip["source"].endswith(name)
    assert Path(clip["path"]).parents[1] == world.folder / "clips"
    assert not list(world.folder.rglob("pwned"))


def test_two_files_of_one_name_do_not_collide(fresh, world: Run) -> None:  # type: ignore[no-untyped-def]
    run = fresh()
    for folder, source in (("a", "h264.mkv"), ("b", "vp9.webm")):
        (run.folder / "raw" / folder).mkdir()
        data = (world.folder / "raw" / source).read_bytes()
        (run.folder / "raw" / folder / "same.mkv").write_bytes(data)
    for stage in ("ingest-videos", "detect-scenes", "split-clips"):
        assert run.stage(stage) == 0
    table = run.table("clips")
    assert list(table["status"]) == ["ok", "ok"]
    assert table["path"].nunique() == table["sha256"].nunique() == 2


def test_every_row_reaches_the_next_table(world: Run) -> None:
    videos, scenes = world.table("videos"), world.table("scenes")
    table, scores = world.table("clips"), world.table("technical")
    assert len(videos) == len(REFUSED) + len(SHORT) + len(GOOD) + len(NAMES) + 1
    assert set(scenes["video_id"]) == set(videos["id"])
    assert set(table["id"].str.rsplit("_", n=1).str[0]) == set(scenes["id"])
    assert list(scores["id"]) == list(table["id"])
    assert (scores["status"] == "ok").sum() >= len(GOOD) + len(NAMES) - 3  # tiny pictures may fail


def test_nothing_half_written_is_left(world: Run) -> None:
    assert world.leftovers() == []
    good = world.table("clips").query("status == 'ok'")
    assert {str(path) for path in (world.folder / "clips").glob("??/*")} == set(good["path"])
    assert {path.name for path in (world.folder / "clips").iterdir()} == {
        *("facts", *(Path(path).stem[:2] for path in good["path"]))
    }
