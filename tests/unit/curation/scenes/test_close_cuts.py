"""No clip that goes on has a frame of another scene, wherever the cuts lie."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from opensora.curation.clips.lengths import ClipSettings
from opensora.curation.clips.split_clips import split_clips
from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.curation.scenes.boundaries import SceneSettings
from opensora.curation.scenes.detect_scenes import detect_scenes
from opensora.media.decode import iter_frames

NUM_FRAMES = 150
CUTS = (1, 3, 8, 50, 58, NUM_FRAMES - 2)
COLOURS = (
    *((200, 40, 40), (20, 90, 20), (120, 200, 250), (60, 10, 90), (240, 220, 60)),
    *((10, 60, 70), (250, 250, 250)),
)
RATES = {"24": Fraction(24), "ntsc": Fraction(30000, 1001), "60": Fraction(60)}


def scene_of(frame: int) -> int:
    return sum(frame >= cut for cut in CUTS)


def film(path: Path, times: list[int], tick: Fraction) -> Path:
    """A ground of one colour a scene with a bar that moves."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.time_base = tick
        for k, time in enumerate(times):
            pixels = np.full((48, 64, 3), COLOURS[scene_of(k)], np.uint8)
            pixels[20:28, k % 60 : k % 60 + 4] = 0
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, tick
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def written(folder: Path, kind: str) -> Path:
    if kind == "uneven":
        steps = np.random.default_rng(5).integers(20, 140, NUM_FRAMES)
        times = (np.cumsum(steps) - steps[0]).tolist()
        return film(folder / "film.mkv", times, Fraction(1, 1000))
    return film(folder / "film.mkv", list(range(NUM_FRAMES)), 1 / RATES[kind])


def colours_of(clip: pd.Series) -> set[int]:
    """Numbers of the scenes that a clip shows."""
    shown = set()
    for frame in iter_frames(clip["path"]):
        colour = np.median(frame.reshape(-1, 3), axis=0)
        shown.add(int(np.argmin([np.abs(colour - known).sum() for known in COLOURS])))
    return shown


@pytest.mark.parametrize("detector", ["content", "adaptive"])
@pytest.mark.parametrize("kind", [*RATES, "uneven"])
def test_no_good_clip_shows_two_scenes(tmp_path: Path, kind: str, detector: str) -> None:
    videos = ingest_videos([written(tmp_path, kind)])
    scenes = detect_scenes(videos, SceneSettings(detector=detector))
    assert scenes["start_frame"].iloc[0] == 0
    assert scenes["end_frame"].iloc[-1] == NUM_FRAMES
    assert list(scenes["start_frame"])[1:] == list(scenes["end_frame"])[:-1]
    good = scenes[scenes["status"] == "ok"]
    assert set(scenes["status"]) == {"ok", "too_short"}
    assert (good["end"] - good["start"] >= 0.5).all()
    clips = split_clips(scenes, tmp_path / "clips", ClipSettings(min_s=0.1))
    made = clips[clips["status"] == "ok"]
    assert len(made) == len(good) >= 2
    for (_, clip), first in zip(made.iterrows(), good["start_frame"], strict=True):
        assert colours_of(clip) == {scene_of(first)}
    # all that is lost is what lies between the cuts that are close
    assert good["end_frame"].max() == CUTS[-1]
    assert CUTS[2] in set(good["start_frame"])


def test_short_scenes_side_by_side_are_one_row(tmp_path: Path) -> None:
    scenes = detect_scenes(ingest_videos([written(tmp_path, "24")]))
    rows = [tuple(row) for row in scenes[["start_frame", "end_frame", "status"]].to_numpy()]
    assert rows == [
        (0, 8, "too_short"),
        (8, 50, "ok"),
        (50, 58, "too_short"),
        (58, 148, "ok"),
        (148, 150, "too_short"),
    ]


def test_a_video_that_is_one_short_scene_is_left_to_those_who_cut_it(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", [0, 40], Fraction(1, 1000))
    pixels = detect_scenes(ingest_videos([path]), SceneSettings(detector="none"))
    assert list(pixels["status"]) == ["ok"]
