"""Frames of videos and images as uint8 RGB arrays, exact to the frame."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from opensora.core.errors import VideoError
from opensora.media.container import Timeline, open_video, timeline
from opensora.media.images import is_image, read_image
from opensora.media.indexed import indexed_frames

_OF_THREAD = threading.local()


def iter_frames(
    path: str | Path,
    *,
    start: int = 0,
    stop: int | None = None,
    size: tuple[int, int] | None = None,
) -> Iterator[np.ndarray]:
    """Yield frames [start, stop) one at a time; memory stays at a few frames.

    Args:
        path: a video or an image; an image has one frame.
        start: index of the first frame.
        stop: index behind the last frame; None reads to the end.
        size: (height, width) to resize to, by area averaging; None keeps the display size.

    Yields:
        uint8 [H, W, 3] RGB, rotation applied.

    Raises:
        ValueError: start is negative.
        VideoError: the file can not be read.
    """
    path = Path(path)
    if start < 0:
        raise ValueError(f"start={start}: frames are counted from 0")
    if stop is not None and stop <= start:
        return
    if is_image(path):
        if start == 0:
            yield _resized(read_image(path)[0], size)
        return
    if start == 0:  # no need to list the frames first
        with open_video(path) as (container, stream):
            for index, frame in enumerate(container.decode(stream)):
                pixels = _pixels(frame, size)
                size = pixels.shape[:2]  # also for a video that changes size on its way
                yield pixels
                if index + 1 == stop:
                    return
        return
    line = timeline(path)
    with open_video(path) as (container, stream):
        for index, frame in _from_index(path, container, stream, line, start):
            if stop is not None and index >= stop:
                return
            yield _pixels(frame, size or line.display_size)


def iter_thumbnails(path: str | Path, longer_side: int) -> Iterator[np.ndarray]:
    """Yield all frames of a video, shrunk by FFmpeg before they become RGB, up to any damage.

    At 1080p this takes half the time of `iter_frames` with a size; values differ from it by
    rounding. Frames that the decoder could only guess, or lost, end the video.

    Args:
        path: a video.
        longer_side: pixels of the longer side at most; a smaller video keeps its size.

    Yields:
        uint8 [H, W, 3] RGB, rotation applied, all of one size.

    Raises:
        VideoError: the file can not be read, or is damaged from here on.
    """
    path = Path(path)
    times = timeline(path).pts
    with open_video(path) as (container, stream):
        stored: tuple[int, int] | None = None
        for index, frame in enumerate(container.decode(stream)):
            if frame.is_corrupt:
                raise VideoError("corrupt", f"{path.name}: frame {index} is damaged")
            if times is not None and frame.pts is not None and frame.pts > times[index]:
                raise VideoError("corrupt", f"{path.name}: frame {index} is missing")
            if stored is None:
                scale = min(1.0, longer_side / max(frame.height, frame.width))
                stored = (max(1, round(frame.height * scale)), max(1, round(frame.width * scale)))
            yield _turned(_rgb(frame, stored), frame.rotation)


def read_frames(
    path: str | Path, indices: Sequence[int], *, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Read the frames with these indices, in this order; an index may repeat.

    Seeks to the keyframe before each wanted run, so a few frames of a long video are cheap.

    Args:
        path: a video or an image; an image has frame 0 only.
        indices: frame indices, at least one.
        size: (height, width) to resize to, by area averaging; None keeps the display size.

    Returns:
        uint8 [T, H, W, 3] RGB with T = len(indices), rotation applied.

    Raises:
        ValueError: no index is given, or one lies outside the file.
        VideoError: the file can not be read.
    """
    path = Path(path)
    found = dict(iter_wanted(path, indices, size=size))
    return np.stack([found[int(index)] for index in indices])


def iter_wanted(
    path: str | Path,
    indices: Sequence[int] | np.ndarray,
    *,
    size: tuple[int, int] | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the frames with these indices one by one, as they are decoded.

    Args:
        path: a video or an image; an image has frame 0 only.
        indices: frame indices in any order, at least one.
        size: (height, width) to resize to, by area averaging; None keeps the display size.

    Yields:
        (index, uint8 [H, W, 3] RGB), mostly in rising order. In a file whose index turns out to be
        wrong an index may come twice: the last one counts.

    Raises:
        ValueError: no index is given, or one lies outside the file.
        VideoError: the file can not be read.
    """
    path = Path(path)
    wanted = sorted({int(index) for index in indices})
    if not wanted:
        raise ValueError(f"{path}: at least one frame index is needed")
    if is_image(path):
        _check_range(path, wanted, 1)
        yield 0, _resized(read_image(path)[0], size)
        return
    if not (yield from indexed_frames(path, wanted, lambda frame: _pixels(frame, size))):
        yield from _read_wanted(path, wanted, size)


def _check_range(path: Path, wanted: list[int], num_frames: int) -> None:
    if wanted[0] < 0 or wanted[-1] >= num_frames:
        raise ValueError(f"{path}: frames {wanted[0]}..{wanted[-1]} asked, it has {num_frames}")


def _read_wanted(
    path: Path, wanted: list[int], size: tuple[int, int] | None
) -> Iterator[tuple[int, np.ndarray]]:
    line = timeline(path)
    _check_range(path, wanted, line.num_frames)
    with open_video(path) as (container, stream):
        for run in _runs(wanted, line):
            missing = set(run)
            for index, frame in _from_index(path, container, stream, line, run[0]):
                if index in missing:
                    yield index, _pixels(frame, size or line.display_size)
                    missing.discard(index)
                if not missing:
                    break
            if missing:
                raise VideoError("corrupt", f"{path.name}: frame {min(missing)} does not decode")


def _runs(wanted: list[int], line: Timeline) -> list[list[int]]:
    """Group sorted indices: one run for each stretch between two keyframes."""
    if line.pts is None:
        return [wanted]
    stretches = np.searchsorted(line.key_pts, line.pts[wanted], side="right")
    runs: dict[int, list[int]] = {}
    for index, stretch in zip(wanted, stretches, strict=True):
        runs.setdefault(int(stretch), []).append(index)
    return list(runs.values())


def _from_index(
    path: Path, container: InputContainer, stream: VideoStream, line: Timeline, start: int
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (index, frame) from frame `start` on."""
    if start >= line.num_frames:
        return
    if line.pts is not None and line.key_pts.size:
        target = int(line.pts[start])
        # a seek may land late in odd files: go back one keyframe further until it does not
        earlier = np.searchsorted(line.key_pts, target, side="right")
        for key_pts in line.key_pts[:earlier][::-1][:3]:
            container.seek(int(key_pts), stream=stream, backward=True)
            frames = container.decode(stream)
            first = next(frames, None)
            if first is not None and first.pts is not None and first.pts <= target:
                yield from _numbered(line.pts, first, frames, start)
                return
    with open_video(path) as (again, video):
        for index, frame in enumerate(again.decode(video)):
            if index >= start:
                yield index, frame


def _numbered(
    pts: np.ndarray, first: VideoFrame, rest: Iterator[VideoFrame], start: int
) -> Iterator[tuple[int, VideoFrame]]:
    frame: VideoFrame | None = first
    while frame is not None:
        index = int(np.searchsorted(pts, frame.pts)) if frame.pts is not None else len(pts)
        if start <= index < len(pts) and pts[index] == frame.pts:
            yield index, frame
        frame = next(rest, None)


def _pixels(frame: VideoFrame, size: tuple[int, int] | None) -> np.ndarray:
    return _resized(_turned(_rgb(frame), frame.rotation), size)


def _rgb(frame: VideoFrame, size: tuple[int, int] | None = None) -> np.ndarray:
    """Stored picture as RGB uint8 [H, W, 3], scaled to (height, width) by area averaging."""
    # FFmpeg's scaler is kept from frame to frame: to set one up takes longer than to use it
    if not hasattr(_OF_THREAD, "scaler"):
        _OF_THREAD.scaler = VideoReformatter()
    height, width = size or (frame.height, frame.width)
    shown = _OF_THREAD.scaler.reformat(
        frame, width, height, format="rgb24", interpolation="AREA" if size else None, threads=1
    )
    pixels: np.ndarray = shown.to_ndarray()
    return pixels


def _turned(pixels: np.ndarray, degrees: float) -> np.ndarray:
    turns = round(degrees / 90) % 4  # quarter turns counter-clockwise, as np.rot90
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _resized(pixels: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    if size is None or pixels.shape[:2] == tuple(size):
        return pixels
    height, width = size
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
