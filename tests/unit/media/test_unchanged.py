"""A replaced file is told from one that was touched."""

import os
import shutil
from pathlib import Path

import pytest

from opensora.buckets.bucket import Bucket
from opensora.core.errors import VideoError
from opensora.core.io import sha256_file
from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.curation.scenes.detect_scenes import detect_scenes
from opensora.media.unchanged import check_unchanged
from opensora.precompute.encode_clips import ClipRequest


@pytest.fixture
def film(tmp_path: Path, tiny_video: Path) -> Path:
    path = tmp_path / "film.mp4"
    shutil.copy(tiny_video, path)
    return path


def replace(film: Path) -> None:
    """Another content of the same length."""
    data = bytearray(film.read_bytes())
    data[-1] ^= 1
    film.write_bytes(data)


def test_a_touched_file_passes_and_a_replaced_one_does_not(film: Path) -> None:
    digest = sha256_file(film)
    os.utime(film, (1, 1))
    check_unchanged(film, digest)
    replace(film)
    check_unchanged(film, "")  # nothing is carried
    with pytest.raises(VideoError, match="changed since ingest"):
        check_unchanged(film, digest)


def test_scenes_of_a_replaced_video_are_not_looked_for(film: Path) -> None:
    videos = ingest_videos([film])
    assert set(detect_scenes(videos)["status"]) == {"ok"}
    replace(film)
    (scene,) = detect_scenes(videos).to_dict("records")
    assert scene["status"] == "changed"
    assert "changed since ingest; run again" in scene["detail"]


def test_a_replaced_clip_is_not_encoded_under_the_old_hash(film: Path) -> None:
    request = ClipRequest("a", str(film), Bucket("24px", 3, "1.00"), 1, sha256_file(film))
    assert request.read().shape[1] == 3
    replace(film)
    with pytest.raises(VideoError, match="changed since ingest"):
        request.read()
