from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from opensora.core.errors import ConfigError
from opensora.curation.ingest import ingest_videos
from opensora.curation.scenes import detect_scenes, find_cuts
from opensora.media.encode import write_video
from opensora.media.probe import probe


@pytest.mark.parametrize("detector", ["content", "adaptive"])
def test_the_cuts_are_found_to_the_frame(tiny_video: Path, detector: str) -> None:
    scenes = detect_scenes(ingest_videos([tiny_video]), detector=detector)
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
    cuts, num_frames = find_cuts(probe(tmp_path / "flash.mp4"), "content", 27.0, 0.5)
    assert (cuts, num_frames) == ([20, 45], 48)


def test_a_large_video_is_cut_at_the_same_frames(tmp_path: Path) -> None:
    frames = np.zeros((12, 80, 600, 3), np.uint8)
    frames[5:, :, :] = 220
    write_video(tmp_path / "wide.mp4", frames, 10)
    assert find_cuts(probe(tmp_path / "wide.mp4"), "content", 27.0, 0.1)[0] == [5]


def test_images_and_still_videos_are_one_scene(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", np.full((10, 16, 16, 3), 99, np.uint8), 10)
    Image.new("RGB", (16, 24)).save(tmp_path / "b.png")
    scenes = detect_scenes(ingest_videos([tmp_path]))
    assert list(scenes["end_frame"]) == [10, 1]
    assert list(scenes["end"]) == [1.0, 0.0]
    assert set(scenes["status"]) == {"ok"}


def test_bad_videos_are_carried_and_lost_ones_marked(tiny_video: Path, tmp_path: Path) -> None:
    videos = pd.concat([ingest_videos([tiny_video])] * 2, ignore_index=True)
    videos.loc[0, ["id", "status", "detail"]] = ["a", "corrupt", "cut off"]
    videos.loc[1, ["id", "path"]] = ["b", str(tmp_path / "gone.mp4")]
    scenes = detect_scenes(videos)
    assert list(scenes["video_id"]) == ["a", "b"]
    assert list(scenes["status"]) == ["corrupt", "missing"]
    assert scenes["detail"].iloc[0] == "cut off"


def test_an_unknown_detector_is_refused(tiny_video: Path) -> None:
    with pytest.raises(ConfigError, match="content"):
        detect_scenes(ingest_videos([tiny_video]), detector="contents")
