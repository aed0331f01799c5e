"""Frames of videos and images as uint8 RGB arrays, exact to the frame."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from opensora.core.errors import VideoError
from opensora.media.container import Timeline, open_video, timeline
from opensora.media.images import is_image, read_image


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
    if len(indices) == 0:
        raise ValueError(f"{path}: read_frames needs at least one index")
    wanted = sorted({int(index) for index in indices})
    num_frames = 1 if is_image(path) else timeline(path).num_frames
    if wanted[0] < 0 or wanted[-1] >= num_frames:
        raise ValueError(f"{path}: frames {wanted[0]}..{wanted[-1]} asked, it has {num_frames}")
    if is_image(path):
        found = {0: _resized(read_image(path)[0], size)}
    else:
        found = _read_wanted(path, wanted, size)
    return np.stack([found[int(index)] for index in indices])


def _read_wanted(
    path: Path, wanted: list[int], size: tuple[int, int] | None
) -> dict[int, np.ndarray]:
    line = timeline(path)
    found: dict[int, np.ndarray] = {}
    with open_video(path) as (container, stream):
        for run in _runs(wanted, line):
            missing = set(run)
            for index, frame in _from_index(path, container, stream, line, run[0]):
                if index in missing:
                    found[index] = _pixels(frame, size or line.display_size)
                    missing.discard(index)
                if not missing:
                    break
            if missing:
                raise VideoError("corrupt", f"{path.name}: frame {min(missing)} does not decode")
    return found


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
    pixels: np.ndarray = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4  # quarter turns counter-clockwise, as np.rot90
    if turns:
        pixels = np.ascontiguousarray(np.rot90(pixels, turns))
    return _resized(pixels, size)


def _resized(pixels: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    if size is None or pixels.shape[:2] == tuple(size):
        return pixels
    height, width = size
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
