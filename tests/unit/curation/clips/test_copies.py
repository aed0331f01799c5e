"""Stream copy: whole groups of pictures, to the frame, nothing decoded."""

import subprocess
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from opensora.core.io import sha256_file
from opensora.curation.clips.clip_files import is_finished
from opensora.curation.clips.lengths import ClipSettings
from opensora.curation.clips.split_clips import split_clips
from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.curation.scenes.boundaries import SceneSettings
from opensora.curation.scenes.detect_scenes import detect_scenes
from opensora.media.decode import read_frames
from opensora.media.encode import ffmpeg_executable, write_video
from opensora.media.probe import probe
from opensora.media.timeline import timeline

NUM_FRAMES = 60
CLOSED = ("-c:v", "libx264", "-g", "10", "-bf", "2", "-sc_threshold", "0", "-crf", "4")
OPEN = (*CLOSED, "-x264-params", "open-gop=1:bframes=3:b-adapt=0")


def source(folder: Path, name: str, *options: str) -> Path:
    """A video at 10 frames a second that shows each frame's number as six stripes."""
    bits = (np.arange(NUM_FRAMES)[:, None] >> np.arange(6)) & 1  # [T, 6]
    stripes = np.repeat(bits, 16, axis=1)[:, None, :, None]  # [T, 1, 96, 1]
    frames = np.broadcast_to(np.uint8(255) * stripes.astype(np.uint8), (NUM_FRAMES, 64, 96, 3))
    write_video(folder / "plain.mp4", frames, 10, crf=0)
    path = folder / name
    command = [ffmpeg_executable(), "-v", "error", "-y", "-i", str(folder / "plain.mp4")]
    subprocess.run([*command, *options, str(path)], check=True, timeout=60)
    (folder / "plain.mp4").unlink()
    return path


def scenes_of(path: Path, *edges: int) -> pd.DataFrame:
    """SCENES of a video whose scenes begin at these frames."""
    scene = detect_scenes(ingest_videos([path]), SceneSettings(detector="none")).iloc[[0]]
    starts, ends = list(edges), [*edges[1:], NUM_FRAMES]
    scenes = pd.concat([scene] * len(starts), ignore_index=True)
    scenes["id"] = [f"{scene['video_id'].iloc[0]}_{k:04d}" for k in range(len(starts))]
    scenes["start_frame"], scenes["end_frame"] = starts, ends
    scenes["start"] = scenes["start_frame"] / 10
    scenes["end"] = scenes["end_frame"] / 10
    return scenes


def shown(path: str) -> list[int]:
    frames = read_frames(path, range(probe(path).num_frames))
    bits = frames[:, frames.shape[1] // 2, 8::16, 0] > 127
    return [int(number) for number in bits @ (1 << np.arange(6))]


def spans(clips: pd.DataFrame) -> list[tuple[int, int, str]]:
    begin, end = (clips[name].mul(10).round().astype(int) for name in ("start", "end"))
    return list(zip(begin, end, clips["status"], strict=True))


COPY = ClipSettings(min_s=1.0, max_s=2.0, mode="copy")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_copies_start_and_end_at_keyframes_inside_the_scene(tmp_path: Path, name: str) -> None:
    path = source(tmp_path, name, *CLOSED)
    assert timeline(path).cut_frames.tolist() == [0, 10, 20, 30, 40, 50]
    clips = split_clips(scenes_of(path, 0, 5, 37), tmp_path / "clips", COPY)
    assert spans(clips) == [
        *[(0, 5, "no_key_frame")],  # frame 0 is one, but the stretch from it ends outside
        *[(5, 10, "no_key_frame"), (10, 30, "ok"), (30, 37, "no_key_frame")],
        *[(37, 40, "no_key_frame"), (40, 60, "ok")],
    ]
    good = clips[clips["status"] == "ok"]
    assert [shown(path) for path in good["path"]] == [list(range(10, 30)), list(range(40, 60))]
    assert list(good["num_frames"]) == [20, 20]
    assert (clips["end"] - clips["start"]).sum() == pytest.approx(6.0)


def test_the_stream_is_taken_as_it_is(tmp_path: Path) -> None:
    path = source(tmp_path, "a.mp4", *CLOSED)
    before = read_frames(path, range(10, 30))
    clips = split_clips(scenes_of(path, 0, 10, 30), tmp_path / "clips", COPY)
    again = read_frames(clips["path"].iloc[1], range(20))
    np.testing.assert_array_equal(before, again)


def test_stretches_that_are_too_long_or_too_short_are_marked(tmp_path: Path) -> None:
    path = source(tmp_path, "a.mp4", "-c:v", "libx264", "-g", "30", "-sc_threshold", "0")
    clips = split_clips(scenes_of(path, 0), tmp_path / "clips", COPY)
    assert spans(clips) == [(0, 30, "too_long"), (30, 60, "too_long")]
    longer = ClipSettings(min_s=4.0, max_s=5.0, mode="copy")
    assert spans(split_clips(scenes_of(path, 0), tmp_path / "clips", longer)) == [
        *[(0, 30, "too_short"), (30, 60, "too_short")]
    ]


def test_groups_that_lean_on_the_one_before_are_not_parted(tmp_path: Path) -> None:
    path = source(tmp_path, "a.mp4", *OPEN)
    line = timeline(path)
    assert len(line.key_pts) > len(line.cut_frames)  # frames before a keyframe come behind it
    settings = ClipSettings(min_s=0.1, max_s=20.0, mode="copy")
    clips = split_clips(scenes_of(path, 0, 25), tmp_path / "clips", settings)
    for clip in clips[clips["status"] == "ok"].itertuples():
        begin, end = round(clip.start * 10), round(clip.end * 10)
        assert shown(clip.path) == list(range(begin, end))
    assert (clips["end"] - clips["start"]).sum() == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("name", "options", "status"),
    [
        ("a.webm", ("-c:v", "libvpx-vp9", "-g", "20", "-lag-in-frames", "0"), "ok"),
        ("a.avi", ("-c:v", "mpeg4", "-g", "10"), "no_key_frame"),
    ],
)
def test_codecs_that_can_not_be_copied_are_marked(
    tmp_path: Path, name: str, options: tuple[str, ...], status: str
) -> None:
    clips = split_clips(scenes_of(source(tmp_path, name, *options), 0), tmp_path / "clips", COPY)
    assert set(clips["status"]) == {status}


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "still.png"])
def test_a_file_that_is_one_scene_is_its_own_clip(tmp_path: Path, name: str) -> None:
    path = source(tmp_path, name, "-frames:v", "1" if name == "still.png" else "60")
    scenes = detect_scenes(ingest_videos([path]), SceneSettings("none"))
    clips = split_clips(scenes, tmp_path / "clips", ClipSettings(min_s=1.0, mode="copy"))
    row = clips.iloc[0]
    assert (row["status"], row["path"], row["sha256"]) == ("ok", str(path), sha256_file(path))
    assert (row["num_frames"], row["height"], row["width"]) == (probe(path).num_frames, 64, 96)
    assert not (tmp_path / "clips").exists()
    if name != "still.png":
        short = split_clips(scenes, tmp_path / "clips", ClipSettings(min_s=7.0, mode="copy"))
        assert short["status"].tolist() == ["too_short"]


def times(store: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in store.rglob("*.mp4")}


def test_only_stretches_that_are_not_there_are_copied(tmp_path: Path) -> None:
    scenes = scenes_of(source(tmp_path, "a.mp4", *CLOSED), 0)
    first = split_clips(scenes, tmp_path / "clips", COPY)
    before = times(tmp_path / "clips")
    second = split_clips(scenes, tmp_path / "clips", COPY)
    pd.testing.assert_frame_equal(first, second)
    assert times(tmp_path / "clips") == before
    lost = Path(first["path"].iloc[1])
    lost.unlink()
    third = split_clips(scenes, tmp_path / "clips", COPY)
    pd.testing.assert_frame_equal(third, first)  # alone it has the bytes that it had among others
    after = times(tmp_path / "clips")
    assert {name for name in before if after[name] != before[name]} == {lost.name}
    longer = ClipSettings(min_s=1.0, max_s=4.0, mode="copy")  # [0, 40) and [40, 60)
    fourth = split_clips(scenes, tmp_path / "clips", longer)
    assert fourth["path"].iloc[1] == first["path"].iloc[2]
    assert shown(fourth["path"].iloc[0]) == list(range(40))
    new = times(tmp_path / "clips")
    assert new.keys() - after.keys() == {Path(fourth["path"].iloc[0]).name}
    assert {name: new[name] for name in after} == after


def test_each_copy_carries_its_own_recipe(tmp_path: Path) -> None:
    clips = split_clips(scenes_of(source(tmp_path, "a.mp4", *CLOSED), 0), tmp_path / "c", COPY)
    for path in map(Path, clips["path"]):
        assert is_finished(path, path.stem)
    assert len({Path(path).stem for path in clips["path"]}) == 3


def test_rotation_and_odd_names_survive(tmp_path: Path) -> None:
    turned = tmp_path / "-turn 'ed\" %d;.mp4"
    with av.open(f"file:{turned}", "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.options = {"g": "10", "sc_threshold": "0"}
        stream.set_display_rotation(90)
        for k in range(NUM_FRAMES):
            pixels = np.full((64, 96, 3), 4 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    clips = split_clips(scenes_of(turned, 0), tmp_path / "clips %d 'x'", COPY)
    assert set(clips["status"]) == {"ok"}
    assert (clips["height"].iloc[0], clips["width"].iloc[0]) == (96, 64)
    info = probe(clips["path"].iloc[0])
    assert (info.height, info.width, info.rotation) == (96, 64, 90)
    assert len(list((tmp_path / "clips %d 'x'").rglob("*.mp4"))) == 3
