"""Scenes from a table: joined by path, to the frame, every row accounted for."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from opensora.cli.main import main
from opensora.core.errors import TableError
from opensora.core.io import sha256_file
from opensora.curation.ingest.discovery import shard_of
from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.curation.scenes.import_scenes import import_scenes
from opensora.tables.columns import VIDEOS
from opensora.tables.io import read_table, write_table


@pytest.fixture
def folder(tiny_video: Path, tmp_path: Path) -> Path:
    """`videos/tiny.mp4`, 48 frames at 8 a second, and an image."""
    (tmp_path / "videos").mkdir()
    shutil.copy(tiny_video, tmp_path / "videos/tiny.mp4")
    Image.new("RGB", (16, 24)).save(tmp_path / "videos/still.png")
    return tmp_path


def scenes_of(folder: Path, text: str, **options: object) -> pd.DataFrame:
    (folder / "scenes.csv").write_text(text)
    videos = ingest_videos([folder / "videos"])
    return import_scenes(videos, folder / "scenes.csv", **options)


def rows(scenes: pd.DataFrame) -> list[tuple[int, int, str]]:
    films = scenes[scenes["kind"] == "video"]
    return list(zip(films["start_frame"], films["end_frame"], films["status"], strict=True))


@pytest.mark.parametrize(
    "path",
    ["{folder}/videos/tiny.mp4", "videos/tiny.mp4", "tiny.mp4"],
    ids=["abs", "table", "root"],
)
def test_a_row_is_joined_by_path_and_its_times_are_frames(folder: Path, path: str) -> None:
    name = path.format(folder=folder)
    text = f"path,start,end\n{name},0:00:02.0,0:00:03.95\n{name},0,1.99\n{name},4.5,\n"
    scenes = scenes_of(folder, text, roots=[folder / "videos"])
    assert rows(scenes) == [(0, 16, "ok"), (16, 32, "ok"), (36, 48, "ok")]
    films = scenes[scenes["kind"] == "video"]
    assert films["end"].tolist() == [2.0, 4.0, 6.0]
    assert films["id"].str[-5:].tolist() == ["_0000", "_0001", "_0002"]
    assert scenes[scenes["kind"] == "image"]["status"].tolist() == ["ok"]
    for scene in scenes.itertuples():  # the address of their clips
        assert scene.sha256 == sha256_file(scene.path)


def test_rows_of_no_use_are_marked(folder: Path) -> None:
    text = (
        "video,start_time,end_time\nvideos/tiny.mp4,0,3\nvideos/tiny.mp4,2,4\n"
        "videos/tiny.mp4,7,9\ngone.mp4,0,1\ngone.mp4,1,2\n"
    )
    scenes = scenes_of(folder, text)
    marked = scenes.set_index("id")["status"].value_counts().to_dict()
    assert marked == {"ok": 2, "overlapping": 1, "out_of_range": 1, "no_video": 2}
    assert scenes["id"].is_unique
    lost = scenes[scenes["status"] == "no_video"]
    assert lost["detail"].tolist()[0].startswith("scenes.csv: 0 s to 1 s of a file that is not")


def test_a_video_without_a_row_is_marked_with_its_seconds(folder: Path) -> None:
    scenes = scenes_of(folder, "path,start,end\n")
    assert rows(scenes) == [(0, 48, "no_scene")]
    assert scenes.loc[scenes["kind"] == "video", "end"].tolist() == [6.0]


def test_a_row_without_a_video_is_booked_in_one_shard(folder: Path) -> None:
    text = "path,start,end\ngone.mp4,0,1\n"
    lost = []
    for shard in range(3):
        scenes = scenes_of(folder, text, shard=(shard, 3))
        lost.append(int((scenes["status"] == "no_video").sum()))
    assert sum(lost) == 1
    assert lost[shard_of(str(folder / "gone.mp4"), 3)] == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path,start\na,0\n", "scenes need a column 'end'"),
        ("path,start,end\na.mp4,soon,2\n", "row 1: .*start and end are seconds or h:mm:ss.sss"),
    ],
)
def test_a_table_that_can_not_be_meant_is_refused(folder: Path, text: str, sentence: str) -> None:
    with pytest.raises(TableError, match=sentence):
        scenes_of(folder, text)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not a readable table"),
        (bytes(90), "byte 0 is 0"),
        (b"path,start,end\nvideos/tiny.mp4,0,\0\n", "byte 33 is 0"),
        (b"path,start,end\n" + b"gone.mp4,0,1\n" * 9000 + bytes(512), "byte 117015 is 0"),
    ],
    ids=["no byte", "zeros alone", "in a cell", "a hole far behind"],
)
def test_a_scene_table_of_zero_bytes_is_refused(
    folder: Path, content: bytes, sentence: str
) -> None:
    (folder / "scenes.csv").write_bytes(content)
    with pytest.raises(TableError, match=rf"scenes\.csv: .*{sentence}"):
        import_scenes(ingest_videos([folder / "videos"]), folder / "scenes.csv")


def test_a_zero_byte_in_a_name_is_a_row_without_a_video(folder: Path) -> None:
    names = ["videos/tiny.mp4", "videos/ti\0ny.mp4"]
    lines = [json.dumps({"path": name, "start": 0, "end": 3}) for name in names]
    (folder / "scenes.jsonl").write_text("\n".join(lines))
    scenes = import_scenes(ingest_videos([folder / "videos"]), folder / "scenes.jsonl")
    films = scenes[scenes["kind"] == "video"]
    assert films["status"].tolist() == ["ok", "no_video"]


def test_a_video_that_was_replaced_gets_no_scene_of_the_old_one(folder: Path) -> None:
    (folder / "scenes.csv").write_text("path,start,end\nvideos/tiny.mp4,0,3\n")
    videos = ingest_videos([folder / "videos"])
    with open(folder / "videos/tiny.mp4", "ab") as file:
        file.write(bytes(8))  # readable still, and another content
    scenes = import_scenes(videos, folder / "scenes.csv")
    assert rows(scenes) == [(0, 0, "changed")]
    assert "tiny.mp4 changed since ingest" in scenes.loc[scenes["kind"] == "video", "detail"].item()


def test_a_public_table_is_joined_by_the_ids_of_videos(folder: Path) -> None:
    (folder / "videos/tiny.mp4").rename(folder / "videos/A film [abc].mp4")
    text = (
        "YoutubeID,Start_timestamp,End_timestamp,Caption\n"
        'abc,00:00:00.000,00:00:02.000,one\nabc,00:00:02.000,00:00:04.000,"two, too"\n'
        "gone,00:00:00.000,00:00:02.000,not here\ngone,00:00:02.000,00:00:04.000,nor this\n"
    )
    scenes = scenes_of(folder, text, roots=[folder / "videos"])
    assert rows(scenes) == [(0, 16, "ok"), (16, 32, "ok"), (0, 0, "no_video")]
    assert scenes["path"].tolist()[-1] == "gone"  # a row for the video, not for each of its scenes
    videos = ingest_videos([folder / "videos"])
    table = folder / "scenes.csv"
    parts = [
        import_scenes(
            videos[[shard_of(path, 3) == number for path in videos["path"]]],
            table,
            roots=[folder / "videos"],
            shard=(number, 3),
        )
        for number in range(3)
    ]
    assert sum((part["status"] == "no_video").sum() for part in parts) == 1
    assert sum((part["status"] == "ok").sum() for part in parts) == 3  # two scenes, one picture


def test_scenes_of_hd_vg_130m_are_frames_of_its_clips(folder: Path) -> None:
    """Frames between those that the set names, counted from where the clip begins."""
    (folder / "videos/tiny.mp4").rename(folder / "videos/abc.mp4")
    cuts = ([0, 9], [9, 17], [17, -1])
    scenes = [{"clip_id": "x", "scene_cut": cut, "caption": "a"} for cut in cuts[:2]]
    last = [{"clip_id": "y", "scene_cut": cuts[2], "caption": "b"}]
    clips = {
        "abc.1.mp4": {"span": ["0:00:01.000", "0:00:04.000"], "fps": 8, "scene_split": scenes},
        "abc.2.mp4": {"span": ["0:00:04.000", "0:00:06.000"], "fps": 8, "scene_split": last},
    }
    table = folder / "hdvg_0.json"
    table.write_text(json.dumps({"abc": {"url": "", "clip": clips}, "gone": {"clip": clips}}))
    videos = ingest_videos([folder / "videos"])
    found = import_scenes(videos, table, roots=[folder / "videos"])
    assert rows(found) == [(9, 17, "ok"), (18, 25, "ok"), (32, 48, "ok"), (0, 0, "no_video")]


def test_a_broken_row_of_a_public_table_is_named(folder: Path) -> None:
    text = "videoID,timestamp,caption\nabc,[],\"['one']\"\n"
    with pytest.raises(TableError, match=r"scenes.csv: row 1: videoID 'abc': expected as many"):
        scenes_of(folder, text)


def test_a_table_of_other_videos_ends_the_command(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, output = folder / "videos.parquet", folder / "found.parquet"
    write_table(ingest_videos([folder / "videos"]), videos, VIDEOS)
    words = ["import-scenes", folder / "scenes.csv", "--videos", videos]
    words += ["--output", output]
    (folder / "scenes.csv").write_text("path,start,end\nelsewhere/a.mp4,0,1\nb.mp4,0,1\n")
    assert main(list(map(str, words))) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "no row of it is of a video in" in said
    assert "b.mp4" in said
    assert "--roots" in said
    assert not output.exists()
    (folder / "scenes.csv").write_text("path,start,end\nb.mp4,0,1\nvideos/tiny.mp4,0,1\n")
    assert main(list(map(str, words))) == 0
    assert read_table(output)["status"].value_counts()["no_video"] == 1
