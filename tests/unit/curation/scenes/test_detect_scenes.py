import subprocess
import tracemalloc
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from opensora.core.errors import ConfigError
from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.curation.scenes.boundaries import DEFAULT_THRESHOLDS, SceneSettings, find_boundaries
from opensora.curation.scenes.detect_scenes import detect_scenes
from opensora.media.encode import ffmpeg_executable, write_video
from opensora.media.probe import probe


@pytest.mark.parametrize("detector", ["content", "adaptive"])
def test_the_cuts_are_found_to_the_frame(tiny_video: Path, detector: str) -> None:
    scenes = detect_scenes(ingest_videos([tiny_video]), SceneSettings(detector))
    assert list(zip(scenes["start_frame"], scenes["end_frame"], strict=True)) == [
        (0, 16),
        (16, 32),
        (32, 48),
    ]
    assert list(scenes["start"]) == [0.0, 2.0, 4.0]
    assert list(scenes["end"]) == [2.0, 4.0, 6.0]
    assert list(scenes["id"].str[-5:]) == ["_0000", "_0001", "_0002"]


def test_a_cut_shortly_before_the_end_survives_an_earlier_flash(tmp_path: Path) -> None:
    frames = np.full((48, 32, 32, 3), (200, 40, 40), np.uint8)
    frames[20] = 255  # a flash of one frame
    frames[45:] = (50, 60, 200)
    write_video(tmp_path / "flash.mp4", frames, 8)
    found = find_boundaries(probe(tmp_path / "flash.mp4"), SceneSettings())
    assert (found.cuts, found.transitions, found.num_frames) == ([20, 21, 45], [], 48)


def test_a_large_video_is_cut_at_the_same_frames(tmp_path: Path) -> None:
    frames = np.zeros((12, 80, 600, 3), np.uint8)
    frames[5:, :, :] = 220
    write_video(tmp_path / "wide.mp4", frames, 10)
    found = find_boundaries(probe(tmp_path / "wide.mp4"), SceneSettings(min_scene_s=0.1))
    assert found.cuts == [5]


def test_images_and_still_videos_are_one_scene(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", np.full((10, 16, 16, 3), 99, np.uint8), 10)
    Image.new("RGB", (16, 24)).save(tmp_path / "b.png")
    videos = ingest_videos([tmp_path])
    scenes = detect_scenes(videos)
    assert list(scenes["sha256"]) == list(videos["sha256"])
    assert list(scenes["end_frame"]) == [10, 1]
    assert list(scenes["end"]) == [1.0, 0.0]
    assert set(scenes["status"]) == {"ok"}


def test_without_a_detector_each_file_is_one_scene(tiny_video: Path) -> None:
    scenes = detect_scenes(ingest_videos([tiny_video]), SceneSettings("none"))
    assert list(zip(scenes["start_frame"], scenes["end_frame"], strict=True)) == [(0, 48)]
    assert (scenes["start"][0], scenes["end"][0], scenes["status"][0]) == (0.0, 6.0, "ok")
    with pytest.raises(ConfigError, match="--detector none has none"):
        SceneSettings("none", threshold=3.0)


def test_bad_videos_are_carried_and_lost_ones_marked(tiny_video: Path, tmp_path: Path) -> None:
    videos = pd.concat([ingest_videos([tiny_video])] * 2, ignore_index=True)
    videos.loc[0, ["id", "status", "detail"]] = ["a", "corrupt", "cut off"]
    videos.loc[1, ["id", "path"]] = ["b", str(tmp_path / "gone.mp4")]
    scenes = detect_scenes(videos)
    assert list(scenes["video_id"]) == ["a", "b"]
    assert list(scenes["status"]) == ["corrupt", "missing"]
    assert scenes["detail"].iloc[0] == "cut off"


def patterns(num_frames: int) -> np.ndarray:
    """Noise that differs in layout, contrast and brightness from one half to the other."""
    rng = np.random.default_rng(0)
    frames = np.empty((2 * num_frames, 48, 64, 3), np.uint8)
    frames[:num_frames] = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((8, 8, 1)))
    frames[num_frames:] = np.kron(rng.integers(0, 120, (3, 4, 3)), np.ones((16, 16, 1)))
    return frames


@pytest.mark.parametrize(
    ("detector", "too_high"), [("content", 250.0), ("adaptive", 256.0), ("hash", 1.1)]
)
def test_every_detector_finds_a_plain_cut(tmp_path: Path, detector: str, too_high: float) -> None:
    write_video(tmp_path / "a.mp4", patterns(12), 12)
    info = probe(tmp_path / "a.mp4")
    settings = SceneSettings(detector, transitions="off")
    assert find_boundaries(info, settings).cuts == [12]
    assert find_boundaries(info, replace(settings, threshold=too_high)).cuts == []


def test_the_histogram_detector_sees_another_brightness_not_another_layout(tmp_path: Path) -> None:
    settings = SceneSettings("histogram", transitions="off")
    frames = patterns(12)
    write_video(tmp_path / "a.mp4", frames, 12)
    assert find_boundaries(probe(tmp_path / "a.mp4"), settings).cuts == [12]
    frames[12:] = frames[0, ::-1, ::-1]
    write_video(tmp_path / "b.mp4", frames, 12)
    assert find_boundaries(probe(tmp_path / "b.mp4"), settings).cuts == []


def test_the_threshold_detector_cuts_in_the_dark(tmp_path: Path) -> None:
    frames = patterns(20)
    frames[15:25] = 0
    write_video(tmp_path / "dark.mp4", frames, 12)
    settings = SceneSettings("threshold", transitions="off")
    assert find_boundaries(probe(tmp_path / "dark.mp4"), settings).cuts == [20]  # (15 + 25) / 2


def test_every_detector_has_a_default() -> None:
    for detector in DEFAULT_THRESHOLDS:
        assert SceneSettings(detector).threshold is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"detector": "contents"}, "did you mean 'content'"),
        ({"transitions": "droop"}, "did you mean 'drop'"),
        ({"threshold": 0.0}, "more than 0"),
        ({"min_scene_s": 0.0}, "more than 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SceneSettings(**wrong)


def broken_video(folder: Path, suffix: str) -> Path:
    """Four scenes of 20 frames at 10 a second; the packet of a frame near 50 is overwritten."""
    path = folder / f"a.{suffix}"
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(0, 256, (4, 64, 96, 3), dtype=np.uint8), 20, axis=0)
    write_video(folder / "whole.mp4", frames, 10)
    command = [ffmpeg_executable(), "-v", "error", "-i", str(folder / "whole.mp4"), "-g", "10"]
    subprocess.run([*command, "-c:v", "libx264", str(path)], check=True, timeout=60)
    with av.open(str(path)) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.size][50]
    data = bytearray(path.read_bytes())
    data[place + 30 : place + 3030] = bytes(3000)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts", "avi"])
def test_a_video_that_breaks_keeps_the_scenes_before_and_accounts_for_the_rest(
    tmp_path: Path, suffix: str
) -> None:
    """The decoder paints over the damage, or leaves frames out; neither passes for footage."""
    video = ingest_videos([broken_video(tmp_path, suffix)])
    scenes = detect_scenes(video)
    good, bad = scenes[scenes["status"] == "ok"], scenes[scenes["status"] != "ok"]
    assert list(good["start_frame"])[:2] == [0, 20]
    assert list(bad["status"]) == ["corrupt"]
    assert 40 <= good["end_frame"].max() <= 50
    assert good["end_frame"].max() == bad["start_frame"].iloc[0]
    assert bad["end_frame"].iloc[0] == video["num_frames"].iloc[0]
    assert (scenes["end"] - scenes["start"]).sum() == pytest.approx(video["duration"].iloc[0])


def test_seconds_of_an_uneven_video_are_those_of_its_frames(
    tmp_path: Path, uneven_video: tuple[Path, list[float]]
) -> None:
    path, times = uneven_video
    video = ingest_videos([path])
    assert (video["variable_frame_rate"].iloc[0], video["num_frames"].iloc[0]) == (1, len(times))
    scenes = detect_scenes(video)
    cut = len(times) // 2
    assert list(scenes["start_frame"]) == [0, cut]
    assert scenes["start"].iloc[1] == pytest.approx(times[cut], abs=0.002)
    assert scenes["end"].iloc[1] == pytest.approx(video["duration"].iloc[0])
    rate = len(times) / video["duration"].iloc[0]
    assert abs(cut / rate - times[cut]) > 0.5  # what the average rate would say


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    short = np.repeat(rng.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8), 4, axis=0)
    peaks = []
    for times in (1, 12):
        path = tmp_path / f"{times}.mp4"
        write_video(path, np.tile(short, (times, 1, 1, 1)), 25)
        info = probe(path)
        tracemalloc.start()
        found = find_boundaries(info, SceneSettings())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.num_frames == 120 * times
    assert peaks[1] < peaks[0] + 100_000  # bytes; a frame of the 1320 more has 3072
