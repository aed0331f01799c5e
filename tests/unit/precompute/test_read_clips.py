import threading

import numpy as np
import pytest
import torch

from opensora.buckets.bucket import Bucket
from opensora.core.errors import VideoError
from opensora.media.encode import write_video
from opensora.media.frames import read_clip
from opensora.precompute.encode_clips import ClipRequest, read_clips

BUCKET = Bucket("24px", 3, "1.00")


@pytest.fixture(scope="module")
def counting_video(tmp_path_factory):
    """Frame k of 8 has the grey value 30 * k."""
    path = tmp_path_factory.mktemp("clips") / "counting.mp4"
    frames = np.empty((8, 48, 64, 3), np.uint8)
    frames[:] = (30 * np.arange(8))[:, None, None, None]
    write_video(path, frames, 8)
    return path


@pytest.mark.parametrize(("interval", "expected"), [(1, [0, 30, 60]), (3, [0, 90, 180])])
def test_frames_are_taken_from_the_start_at_the_interval(counting_video, interval, expected):
    clip = read_clip(counting_video, BUCKET.num_frames, BUCKET.size, interval)
    assert clip.shape == (3, 3, 24, 24)
    grey = (clip.mean(dim=(0, 2, 3)) + 1) / 2 * 255
    assert grey.tolist() == pytest.approx(expected, abs=3)
    assert float(clip.min()) >= -1
    assert float(clip.max()) <= 1


def test_a_clip_that_is_too_short_is_named(counting_video):
    with pytest.raises(VideoError, match=r"counting\.mp4: the plan needs 3 frames at interval 4"):
        read_clip(
            counting_video, BUCKET.num_frames, BUCKET.size, 4
        )  # frames 0, 4 and 8, which is not there


def test_clips_come_in_order_however_many_threads_read(tmp_path):
    paths = []
    for k in range(12):
        paths.append(tmp_path / f"{k}.mp4")
        write_video(paths[-1], np.full((3, 32, 32, 3), 20 * k, np.uint8), 8)
    requests = [ClipRequest(path.stem, str(path), BUCKET, 1) for path in paths]
    found = [float((clip.mean() + 1) / 2 * 255) for clip in read_clips(requests)]
    assert found == pytest.approx([20 * k for k in range(12)], abs=3)


def test_a_broken_clip_is_an_error_when_its_turn_has_come(counting_video, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    paths = {"good": counting_video, "broken": tmp_path / "bad.mp4", "next": counting_video}
    clips = read_clips(ClipRequest(name, str(path), BUCKET, 1) for name, path in paths.items())
    assert next(clips).shape == (3, 3, 24, 24)
    error = next(clips)
    assert isinstance(error, VideoError)
    assert error.reason in ("not_a_video", "corrupt", "unreadable")
    assert "bad.mp4" in error.detail
    assert next(clips).shape == (3, 3, 24, 24)  # the others go on
    assert list(clips) == []


@pytest.mark.parametrize(
    ("ahead_bytes", "most"), [(1 << 30, 4), (0, 2), (2 * 3 * 3 * 24 * 24 * 4, 3)]
)
def test_reading_ahead_is_bounded_in_clips_and_bytes(monkeypatch, ahead_bytes, most):
    monkeypatch.setattr("opensora.precompute.encode_clips._AHEAD", 3)
    monkeypatch.setattr("opensora.precompute.encode_clips._AHEAD_BYTES", ahead_bytes)
    monkeypatch.setattr("opensora.precompute.encode_clips.read_clip", lambda path, *_: path)
    asked = []

    def requests():
        for k in range(10):
            asked.append(k)
            yield ClipRequest(str(k), str(k), BUCKET, 1)

    clips = read_clips(requests())
    for k in range(10):
        assert next(clips) == str(k)
        assert len(asked) == min(k + most, 10)


def test_leaving_early_stops_the_threads(monkeypatch):
    started = []
    monkeypatch.setattr(
        "opensora.precompute.encode_clips.read_clip", lambda path, *_: started.append(path) or path
    )
    clips = read_clips(ClipRequest(str(k), str(k), BUCKET, 1) for k in range(100))
    next(clips)
    clips.close()
    assert len(started) <= 9
    assert not [t for t in threading.enumerate() if t.name.startswith("read_clips")]


def test_the_middle_of_a_wide_clip_is_kept(tmp_path):
    frames = np.zeros((3, 48, 96, 3), np.uint8)
    frames[:, :, 24:72] = 255  # exactly the square in the middle
    write_video(tmp_path / "wide.mp4", frames, 8)
    clip = read_clip(tmp_path / "wide.mp4", BUCKET.num_frames, BUCKET.size, 1)
    assert float(clip[..., 2:-2].min()) > 0.9
    assert torch.isfinite(clip).all()
