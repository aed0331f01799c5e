"""Whatever fails while clips are cut costs what it must, and leaves nothing half-written."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import opensora.curation.clips.clip_files as clip_files_module
import opensora.curation.clips.split_clips as clips_module
import opensora.curation.clips.split_clips as splitting_module
from opensora.core.errors import OpenSoraError, VideoError
from opensora.curation.clips.lengths import ClipSettings
from opensora.curation.clips.split_clips import split_clips
from opensora.media.encode import write_video


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
    scenes = ramp.to_dict("records")  # in this process, where the reader is broken
    clips = splitting_module.clips_of_source(scenes, tmp_path / "clips", ClipSettings(max_s=2.0))
    assert [clip["status"] for clip in clips] == [
        "ok",
        "too_short",
        "corrupt",
        "corrupt",
        "too_short",
    ]
    assert len(list((tmp_path / "clips").iterdir())) == 1  # no half-written file stays


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
    scenes = ramp.to_dict("records")
    clips = splitting_module.clips_of_source(scenes, tmp_path / "clips", ClipSettings(max_s=2.0))
    assert [clip["status"] for clip in clips] == [
        *("encode_failed", "too_short", "encode_failed", "encode_failed", "too_short")
    ]
    assert "no such preset" in clips[0]["detail"]
    assert not list((tmp_path / "clips").iterdir())
    with pytest.raises(OpenSoraError, match="no such preset"):
        clips_module._check_encoder(clips)


@pytest.mark.parametrize("settings", [ClipSettings(), ClipSettings(mode="copy")])
def test_a_full_disk_ends_the_run_with_one_sentence(
    ramp: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: ClipSettings,
) -> None:
    fake_ffmpeg(tmp_path, "clip.mp4: No space left on device", monkeypatch)
    (tmp_path / "clips").mkdir()
    whole = {**ramp.iloc[0], "end_frame": 52, "end": 6.5}
    settings = replace(settings, max_s=6.0)  # else the file would be its own clip
    with pytest.raises(OpenSoraError, match="No space left on device") as caught:
        splitting_module.clips_of_source([whole], tmp_path / "clips", settings)
    assert not isinstance(caught.value, VideoError)
    assert not list((tmp_path / "clips").iterdir())


def test_a_source_that_takes_too_long_costs_itself_alone(
    ramp: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ramp.copy()
    other["video_id"] = "other"
    other["id"] = [f"other_{k:04d}" for k in range(3)]

    def limit(scenes: list[dict], timeout_s: float) -> float:
        return 0.01 if scenes[0]["video_id"] == "other" else timeout_s

    monkeypatch.setattr(clips_module, "clips_limit_s", limit)
    scenes = pd.concat([other, ramp], ignore_index=True)
    clips = split_clips(scenes, tmp_path / "clips", ClipSettings(max_s=2.0))
    assert list(clips["status"][:3]) == ["timeout"] * 3
    assert list(clips["status"][3:]) == ["ok", "too_short", "ok", "ok", "too_short"]
    assert not list((tmp_path / "clips").glob(".*"))


def test_what_a_lost_worker_was_writing_is_removed(tmp_path: Path) -> None:
    for name in (".a-1_0000_000.x.mp4", ".a-12_0000_000.x.mp4", "a-1_0000_000.mp4"):
        (tmp_path / name).touch()
    (tmp_path / ".a-1_0001_000.yyy").mkdir()
    clips_module._remove_unfinished(tmp_path, "a-1")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".a-12_0000_000.x.mp4", "a-1_0000_000.mp4"]


def test_a_source_that_changed_since_its_scenes_were_found_is_told(
    ramp: pd.DataFrame, tmp_path: Path
) -> None:
    write_video(ramp["path"].iloc[0], np.zeros((30, 24, 48, 3), np.uint8), 8)
    clips = split_clips(ramp, tmp_path / "clips", ClipSettings())
    assert set(clips["status"]) == {"changed"}
    assert "run ingest_videos" in clips["detail"].iloc[0]
