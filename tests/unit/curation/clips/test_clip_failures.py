"""Whatever fails while clips are cut costs what it must, and leaves nothing half-written."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import opensora.curation.clips.clip_files as clip_files_module
import opensora.curation.clips.split_clips as splitting_module
from opensora.core.errors import OpenSoraError, VideoError
from opensora.curation.clips.lengths import ClipSettings
from opensora.curation.clips.split_clips import Source, split_clips
from opensora.media.encode import write_video


def cut_here(scenes: pd.DataFrame, folder: Path, settings: ClipSettings) -> list[dict]:
    """Cut in this process, where a test may have broken something."""
    source = Source(scenes.to_dict("records"), folder / "clips/.scratch-test")
    return splitting_module.clips_of_source(source, folder / "clips", settings)


def test_a_stream_that_breaks_keeps_the_clips_before_it(
    ramp: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = splitting_module.iter_frames

    def breaks(*args: object, **options: object) -> Iterator[np.ndarray]:
        for index, frame in enumerate(whole(*args, **options)):  # type: ignore[arg-type]
            if index == 30:
                raise VideoError("corrupt", "broken at frame 30")
            yield frame

    monkeypatch.setattr(splitting_module, "iter_frames", breaks)
    clips = cut_here(ramp, tmp_path, ClipSettings(max_s=2.0))
    assert [clip["status"] for clip in clips] == [
        "ok",
        "too_short",
        "corrupt",
        "corrupt",
        "too_short",
    ]
    # no half-written file stays
    assert [str(path) for path in (tmp_path / "clips").rglob("*.mp4")] == [clips[0]["path"]]
    assert not list((tmp_path / "clips").rglob(".*"))


def fake_ffmpeg(folder: Path, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ffmpeg that complains and ends."""
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
    path.chmod(0o755)
    monkeypatch.setattr(clip_files_module, "ffmpeg_executable", lambda: str(path))


def test_a_clip_that_ffmpeg_refuses_is_marked(
    ramp: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ffmpeg(tmp_path, "no such preset", monkeypatch)
    clips = cut_here(ramp, tmp_path, ClipSettings(max_s=2.0))
    assert [clip["status"] for clip in clips] == [
        *("encode_failed", "too_short", "encode_failed", "encode_failed", "too_short")
    ]
    assert "no such preset" in clips[0]["detail"]
    assert not list((tmp_path / "clips").rglob("*.*"))
    with pytest.raises(OpenSoraError, match="no such preset"):
        splitting_module._check_encoder(clips)


@pytest.mark.parametrize("settings", [ClipSettings(), ClipSettings(mode="copy")])
def test_a_full_disk_ends_the_run_with_one_sentence(
    ramp: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: ClipSettings,
) -> None:
    fake_ffmpeg(tmp_path, "clip.mp4: No space left on device", monkeypatch)
    whole = ramp.iloc[[0]].assign(end_frame=52, end=6.5)
    settings = replace(settings, max_s=6.0)  # else the file would be its own clip
    with pytest.raises(OpenSoraError, match="No space left on device") as caught:
        cut_here(whole, tmp_path, settings)
    assert not isinstance(caught.value, VideoError)
    assert not list((tmp_path / "clips").rglob("*.*"))


def test_a_source_that_takes_too_long_costs_itself_alone(
    ramp: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ramp.copy()
    other["video_id"] = "other"
    other["id"] = [f"other_{k:04d}" for k in range(3)]

    def limit(source: Source, timeout_s: float) -> float:
        return 0.01 if source.scenes[0]["video_id"] == "other" else timeout_s

    monkeypatch.setattr(splitting_module, "clips_limit_s", limit)
    scenes = pd.concat([other, ramp], ignore_index=True)
    clips = split_clips(scenes, tmp_path / "clips", ClipSettings(max_s=2.0))
    assert list(clips["status"][:3]) == ["timeout"] * 3
    assert list(clips["status"][3:]) == ["ok", "too_short", "ok", "ok", "too_short"]
    assert not list((tmp_path / "clips").rglob(".*"))


@pytest.mark.parametrize(("num_frames", "words"), [(30, "in more"), (52, "is not what it was")])
def test_a_source_that_changed_since_its_scenes_were_found_is_told(
    ramp: pd.DataFrame, tmp_path: Path, num_frames: int, words: str
) -> None:
    write_video(ramp["path"].iloc[0], np.zeros((num_frames, 24, 48, 3), np.uint8), 8)
    clips = split_clips(ramp, tmp_path / "clips", ClipSettings())
    assert set(clips["status"]) == {"changed"}
    assert words in clips["detail"].iloc[0]
    assert "run ingest_videos" in clips["detail"].iloc[0]
    assert not list((tmp_path / "clips").rglob("*.mp4"))  # nothing under the address of another
