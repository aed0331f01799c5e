from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from opensora.curation.clips.lengths import ClipSettings
from opensora.curation.clips.split_clips import split_clips
from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.curation.scenes.boundaries import SceneSettings
from opensora.curation.scenes.detect_scenes import detect_scenes
from opensora.media.decode import read_frames
from opensora.media.encode import write_video
from opensora.media.probe import probe


def shown(path: str) -> list[int]:
    """The frame numbers that a clip of `ramp` shows."""
    frames = read_frames(path, range(probe(path).num_frames))
    bits = frames[:, 12, 4:48:8, 0] > 127  # the middle of each stripe
    return [int(number) for number in bits @ (1 << np.arange(6))]


def test_clips_hold_exactly_the_frames_of_their_span(ramp: pd.DataFrame, tmp_path: Path) -> None:
    clips = split_clips(ramp, tmp_path / "clips", ClipSettings(min_s=1.0, max_s=2.0))
    assert list(clips["id"].str[-8:]) == [
        *("0000_000", "0000_001", "0001_000", "0001_001", "0002_000")
    ]
    # 20 frames: 16 and a rest of 4 (half a second); 28: 16 and 12; 4: too short
    assert list(clips["status"]) == ["ok", "too_short", "ok", "ok", "too_short"]
    spans = [(0, 16), (20, 36), (36, 48)]
    good = clips[clips["status"] == "ok"]
    assert [shown(path) for path in good["path"]] == [list(range(*span)) for span in spans]
    assert list(good["num_frames"]) == [16, 16, 12]
    assert set(good["fps"]) == {8.0}
    assert (good["height"].iloc[0], good["width"].iloc[0]) == (24, 50)
    assert "0.500 s" in clips["detail"].iloc[1]
    assert (clips["end"] - clips["start"]).sum() == pytest.approx(52 / 8)


def test_a_lower_rate_drops_frames_and_a_higher_one_does_not_invent_any(
    ramp: pd.DataFrame, tmp_path: Path
) -> None:
    half = split_clips(ramp, tmp_path / "half", ClipSettings(max_s=2.0, fps=4.0))
    assert shown(half["path"].iloc[0]) == list(range(0, 16, 2))
    assert (half["fps"].iloc[0], half["num_frames"].iloc[0]) == (4.0, 8)
    fast = split_clips(ramp, tmp_path / "fast", ClipSettings(max_s=2.0, fps=60.0))
    assert fast["fps"].iloc[0] == 8.0


def test_a_second_run_keeps_finished_files_and_makes_the_same_bytes(
    ramp: pd.DataFrame, tmp_path: Path
) -> None:
    settings = ClipSettings(max_s=2.0)
    first = split_clips(ramp, tmp_path / "clips", settings)
    kept, remade = (Path(first["path"].iloc[k]) for k in (0, 2))
    inode = kept.stat().st_ino
    remade.unlink()
    second = split_clips(ramp, tmp_path / "clips", settings)
    pd.testing.assert_frame_equal(first, second)  # with the sha256 of every file
    assert kept.stat().st_ino == inode


def test_other_settings_are_other_files(ramp: pd.DataFrame, tmp_path: Path) -> None:
    first = split_clips(ramp, tmp_path / "clips", ClipSettings(max_s=2.0))
    second = split_clips(ramp, tmp_path / "clips", ClipSettings(max_s=2.0, short_side=16))
    assert not set(first["path"][first["status"] == "ok"]) & set(second["path"])
    sizes = [
        (probe(path).height, probe(path).width) for path in (first["path"][0], second["path"][0])
    ]
    assert sizes == [(24, 50), (16, 34)]  # 50 * 16 / 24 = 33.3, made even
    assert (second["height"].iloc[0], second["width"].iloc[0]) == (16, 34)


def test_images_become_png_files_with_their_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    (tmp_path / "raw").mkdir()
    Image.fromarray(pixels).save(tmp_path / "raw" / "a.png")
    scenes = detect_scenes(ingest_videos([tmp_path / "raw"]))
    clip = split_clips(scenes, tmp_path / "clips", ClipSettings()).iloc[0]
    np.testing.assert_array_equal(np.asarray(Image.open(clip["path"])), pixels)
    assert (clip["kind"], clip["num_frames"], clip["fps"], clip["status"]) == (
        "image",
        1,
        1.0,
        "ok",
    )
    small = split_clips(scenes, tmp_path / "clips", ClipSettings(short_side=8)).iloc[0]
    assert Image.open(small["path"]).size == (8, 12)


def test_marked_scenes_are_carried_and_lost_sources_marked(
    ramp: pd.DataFrame, tmp_path: Path
) -> None:
    ramp.loc[0, ["status", "detail"]] = ["corrupt", "why"]
    Path(ramp["path"].iloc[0]).unlink()
    clips = split_clips(ramp, tmp_path / "clips", ClipSettings())
    assert list(clips["status"]) == ["corrupt", "missing", "missing"]
    assert clips["detail"].iloc[0] == "why"
    assert list(clips["source"]) == list(ramp["path"])


def test_an_uneven_source_keeps_its_pace(
    uneven_video: tuple[Path, list[float]], tmp_path: Path
) -> None:
    """24 frames in the first second, then four a second."""
    scenes = detect_scenes(ingest_videos([uneven_video[0]]))
    settings = ClipSettings(min_s=0.9, max_s=4.0, fps=8.0)
    clips = split_clips(scenes, tmp_path / "clips", settings)
    assert list(clips["status"]) == ["ok", "ok", "ok"]
    assert list(clips["start"]) == pytest.approx([0.0, 1.0, 5.0], abs=0.002)
    # no more frames than the source shows; its last frame stands 0.042 s, as most do
    assert list(clips["num_frames"]) == [8, 16, 8]
    assert list(clips["fps"]) == pytest.approx([8.0, 4.0, 8 / 1.792], abs=0.01)
    numbers = [
        [
            int(n)
            for n in (read_frames(path, range(count))[:, 52, 4:48:8, 0] > 127) @ (1 << np.arange(6))
        ]
        for path, count in zip(clips["path"], clips["num_frames"], strict=True)
    ]
    assert numbers[0] == list(range(0, 24, 3))
    assert numbers[1] == list(range(24, 40))
    assert set(numbers[2]) <= set(range(40, 48))
    assert numbers[2] == sorted(numbers[2])


@pytest.mark.parametrize("turn", [90, 180])
def test_rotation_is_in_the_pixels_of_a_clip(tmp_path: Path, turn: int) -> None:
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :16] = 255  # one white corner
    with av.open(str(tmp_path / "turned.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        stream.set_display_rotation(turn)
        for _ in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    scenes = detect_scenes(ingest_videos([tmp_path / "turned.mp4"]))
    clip = split_clips(scenes, tmp_path / "clips", ClipSettings()).iloc[0]
    upright = np.rot90(picture, turn // 90)
    assert (clip["height"], clip["width"]) == upright.shape[:2]
    assert probe(clip["path"]).rotation == 0
    shown = read_frames(clip["path"], [5])[0]
    assert np.abs(shown.astype(int) - upright).mean() < 12


def test_two_seconds_of_a_broadcast_source_are_16_frames(tmp_path: Path) -> None:
    """At 29.97 frames a second no whole number of frames lasts two seconds: 59 are the most."""
    frames = np.zeros((130, 32, 48, 3), np.uint8)
    write_video(tmp_path / "a.mp4", frames, Fraction(30000, 1001))
    scenes = detect_scenes(ingest_videos([tmp_path / "a.mp4"]), SceneSettings(detector="none"))
    clips = split_clips(scenes, tmp_path / "clips", ClipSettings(2.0, 2.0, fps=8.0))
    assert clips["num_frames"].tolist() == [16, 16, 0]
    assert clips["status"].tolist() == ["ok", "ok", "too_short"]
    own = split_clips(scenes, tmp_path / "clips", ClipSettings(2.0, 2.0))
    assert own["num_frames"].tolist() == [59, 59, 0]
    assert (own["end"] - own["start"]).max() <= 2.0
