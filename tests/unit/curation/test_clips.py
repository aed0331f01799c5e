from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import opensora.curation.clips as clips_module
from opensora.core.errors import VideoError
from opensora.curation.clips import split_clips
from opensora.curation.cutting import ClipSettings
from opensora.curation.ingest import ingest_videos
from opensora.curation.scenes import detect_scenes
from opensora.media.decode import read_frames
from opensora.media.encode import write_video
from opensora.media.probe import probe


@pytest.fixture
def ramp(tmp_path: Path) -> pd.DataFrame:
    """SCENES of one 8-fps video that shows each frame's number as six black or white stripes.

    The scenes are [0, 20), [20, 48), [48, 52).
    """
    bits = (np.arange(52)[:, None] >> np.arange(6)) & 1  # [T, 6]
    stripes = np.repeat(bits, 8, axis=1)[:, None, :, None]  # [T, 1, 48, 1]
    frames = np.broadcast_to(np.uint8(255) * stripes.astype(np.uint8), (52, 24, 48, 3))
    frames = np.pad(frames, ((0, 0), (0, 0), (0, 1), (0, 0)))  # an odd width
    (tmp_path / "raw").mkdir()
    write_video(tmp_path / "raw" / "ramp.mp4", frames, 8, crf=0)
    scene = detect_scenes(ingest_videos([tmp_path / "raw"]), threshold=255.0)
    scenes = pd.concat([scene] * 3, ignore_index=True)
    scenes["id"] = [f"{scene['video_id'].iloc[0]}_{k:04d}" for k in range(3)]
    scenes["start_frame"], scenes["end_frame"] = [0, 20, 48], [20, 48, 52]
    scenes["start"], scenes["end"] = scenes["start_frame"] / 8, scenes["end_frame"] / 8
    return scenes


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


def test_other_settings_replace_the_files(ramp: pd.DataFrame, tmp_path: Path) -> None:
    first = split_clips(ramp, tmp_path / "clips", ClipSettings(max_s=2.0))
    second = split_clips(ramp, tmp_path / "clips", ClipSettings(max_s=2.0, short_side=16))
    assert first["path"].iloc[0] == second["path"].iloc[0]
    info = probe(second["path"].iloc[0])
    assert (info.height, info.width) == (16, 34)  # 50 * 16 / 24 = 33.3, made even
    assert (second["height"].iloc[0], second["width"].iloc[0]) == (16, 34)


def test_a_stream_that_breaks_keeps_the_clips_before_it(
    ramp: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = clips_module.iter_frames

    def breaks(*args: object, **options: object) -> Iterator[np.ndarray]:
        for index, frame in enumerate(whole(*args, **options)):  # type: ignore[arg-type]
            if index == 30:
                raise VideoError("corrupt", "broken at frame 30")
            yield frame

    monkeypatch.setattr(clips_module, "iter_frames", breaks)
    clips = split_clips(ramp, tmp_path / "clips", ClipSettings(max_s=2.0))
    assert list(clips["status"]) == ["ok", "too_short", "corrupt", "corrupt", "too_short"]
    assert len(list((tmp_path / "clips").iterdir())) == 1  # no half-written file stays


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
