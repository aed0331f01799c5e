"""Blocks of compression are those of the source: a clip that was encoded anew hides them."""

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
from opensora.curation.scores.score_clips import score_clips
from opensora.curation.scores.seen import Seen
from opensora.curation.scores.technical import TechnicalScorer, _blockiness
from opensora.media.decode import iter_frames

HEIGHT, WIDTH = 240, 320


def film(path: Path, quality: int, coarse_from: int = 0, group: int = 1) -> Path:
    """A smooth picture in MPEG-2; frames before `coarse_from` are flat, groups have a keyframe."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg2video", rate=25)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.options = {"qmin": str(quality), "qmax": str(quality), "g": str(group)}
        for k in range(50):
            luma = 120 + 60 * np.sin((x - k) / 23) + 40 * np.sin((y + k) / 17)
            if k < coarse_from:
                luma = np.full((HEIGHT, WIDTH), 120)
            frame = av.VideoFrame.from_ndarray(luma.astype(np.uint8), format="gray")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def clips_of(path: Path, folder: Path, settings: ClipSettings) -> pd.DataFrame:
    scenes = detect_scenes(ingest_videos([path]), SceneSettings(detector="none"))
    return split_clips(scenes, folder / "clips", settings)


def blockiness(clips: pd.DataFrame) -> list[float]:
    table = score_clips(clips, {"technical": TechnicalScorer()})["technical"]
    return table["blockiness"].tolist()


def test_blocks_of_the_source_are_seen_in_a_shrunk_clip(tmp_path: Path) -> None:
    coarse = clips_of(film(tmp_path / "coarse.mkv", 31), tmp_path, ClipSettings(short_side=100))
    fine = clips_of(film(tmp_path / "fine.mkv", 2), tmp_path, ClipSettings(short_side=100))
    seen = blockiness(coarse)[0]
    assert seen > 2 > blockiness(fine)[0]
    alone = coarse.assign(source="")  # of a table that names no source the clip itself is judged
    assert blockiness(alone)[0] < 1.2


def test_a_clip_is_judged_by_its_own_part_of_the_source(tmp_path: Path) -> None:
    path = film(tmp_path / "late.mkv", 31, coarse_from=25)
    first, second = blockiness(clips_of(path, tmp_path, ClipSettings(max_s=1.0, short_side=100)))
    assert first == pytest.approx(1, abs=0.05)
    assert second > 2


def test_a_source_that_is_gone_marks_the_clip(tmp_path: Path) -> None:
    clips = clips_of(film(tmp_path / "a.mkv", 31), tmp_path, ClipSettings(short_side=100))
    assert len(list(iter_frames(clips["path"][0]))) == 50
    (tmp_path / "a.mkv").unlink()
    table = score_clips(clips, {"technical": TechnicalScorer()})["technical"]
    assert table["status"].tolist() == ["missing"]


def test_a_source_or_a_clip_that_was_replaced_marks_the_clip(tmp_path: Path) -> None:
    clips = clips_of(film(tmp_path / "a.mkv", 31), tmp_path, ClipSettings(short_side=100))
    assert score_clips(clips, {"technical": TechnicalScorer()})["technical"]["status"][0] == "ok"
    clip = Path(clips["path"][0])
    for path in (film(tmp_path / "a.mkv", 2), clip):  # readable, as long, and another content
        with path.open("ab") as file:
            file.write(bytes(8))
        row = score_clips(clips, {"technical": TechnicalScorer()})["technical"].iloc[0]
        assert row["status"] == "changed"
        assert row["detail"].startswith(f"{path.name} changed since ingest")
        assert np.isnan(row["sharpness"])


def test_stronger_compression_is_seen_from_few_frames_behind_keyframes(tmp_path: Path) -> None:
    """In order, and near the median over all frames until the picture falls into blocks."""
    found, expected = [], []
    for quality in (2, 6, 12, 31):
        path = film(tmp_path / f"{quality}.mkv", quality, group=25)
        clips = clips_of(path, tmp_path, ClipSettings(max_s=1.0, short_side=100))
        found.append(blockiness(clips)[1])
        frames = [Seen(frame).stored_luma for frame in iter_frames(path, start=25)]
        expected.append(np.median([_blockiness(luma) for luma in frames]))
    assert found == sorted(found)
    assert expected == sorted(expected)
    np.testing.assert_allclose(found[:3], expected[:3], rtol=0.15)
    assert found[3] > expected[3] > 1.5
