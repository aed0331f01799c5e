"""Frames of videos and images as uint8 RGB arrays, exact to the frame."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from opensora.core import limits
from opensora.core.errors import VideoError
from opensora.media.colour import to_rgb
from opensora.media.container import geometry_of, open_video
from opensora.media.fields.whole import Numbered, whole_pictures
from opensora.media.formats import content_of
from opensora.media.geometry import Geometry, Orientation
from opensora.media.images import is_image, moving_frames, read_image
from opensora.media.indexed import indexed_frames
from opensora.media.pictures import frames_of
from opensora.media.timeline import Timeline, timeline

_P = TypeVar("_P")  # what is made of a frame
_SAME_SHAPE = 0.02  # part by which the shape of a picture may change on the way


class Picture(NamedTuple):
    """A frame upright, its pixels as they are stored: they may not be square.

    `pixels` uint8 [H, W, 3] RGB; `shown` (height, width) at which they are to be seen; `is_still`:
    the file is a still picture.
    """

    pixels: np.ndarray
    shown: tuple[int, int]
    is_still: bool = False

    def resized(self, size: tuple[int, int] | None) -> np.ndarray:
        """The pixels at a size, by area averaging; None takes that at which they are seen."""
        return _resized(self.pixels, size or self.shown)


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
        uint8 [H, W, 3] RGB as shown: margins cut off, pixels square, upright.

    Raises:
        ValueError: start is negative.
        VideoError: the file can not be read.
    """
    for picture in iter_pictures(path, start=start, stop=stop):
        size = size or picture.shown  # also for a video that changes size on its way
        yield picture.resized(size)


def iter_pictures(
    path: str | Path, *, start: int = 0, stop: int | None = None
) -> Iterator[Picture]:
    """Yield frames [start, stop) as :func:`iter_frames`, but not yet at any size."""
    path = Path(path)
    if start < 0:
        raise ValueError(f"start={start}: frames are counted from 0")
    if stop is not None and stop <= start:
        return
    if _is_picture(path):
        for index, picture in enumerate(_pictures_of_picture(path)):
            if index >= start:
                yield picture
            if index + 1 == stop:
                return
        return
    if start == 0:  # no need to list the frames first
        with open_video(path) as (container, stream):
            geometry = geometry_of(path, container, stream)
            frames = enumerate(frames_of(container, stream))
            for index, frame in whole_pictures(path, frames, partial(_frames_from, path)):
                yield picture_of(frame, geometry)
                if index + 1 == stop:
                    return
        return
    geometry = timeline(path).geometry
    again = partial(_frames_from, path)
    for index, frame in whole_pictures(path, again(start), again):
        if stop is not None and index >= stop:
            return
        yield picture_of(frame, geometry)


def iter_thumbnails(path: str | Path, longer_side: int) -> Iterator[np.ndarray]:
    """Yield all frames of a video, shrunk by FFmpeg before they become RGB, up to any damage.

    At 1080p this takes half the time of `iter_frames` with a size; values differ from it by
    rounding. Frames that the decoder could only guess, or lost, end the video, and so does a
    picture that changes its shape.

    Args:
        path: a video.
        longer_side: pixels of the longer side at most; a smaller video keeps its size.

    Yields:
        uint8 [H, W, 3] RGB as shown, all of one size.

    Raises:
        VideoError: the file can not be read, or is damaged from here on.
    """
    path = Path(path)
    line = timeline(path)
    height, width = line.display_size
    scale = min(1.0, longer_side / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    if _is_picture(path):
        yield from (picture.resized(size) for picture in _pictures_of_picture(path))
        return
    plain = not any(line.geometry.margins)
    with open_video(path) as (container, stream):
        frames = _checked(path, line, enumerate(frames_of(container, stream)))
        for _, frame in whole_pictures(
            path, frames, lambda k: _checked(path, line, _frames_from(path, k))
        ):
            orientation = Orientation.of(frame)
            stored = size[::-1] if orientation.swaps else size
            pixels = line.geometry.cut(to_rgb(frame, stored if plain else None))
            yield _resized(orientation.apply(pixels), size)


def _checked(path: Path, line: Timeline, frames: Numbered) -> Numbered:
    """Frames up to one that is not what it should be, see `_check_frame`."""
    for index, frame in frames:
        _check_frame(path, line, index, frame)
        yield index, frame


def _check_frame(path: Path, line: Timeline, index: int, frame: VideoFrame) -> None:
    """Refuse a frame that is not what it should be.

    Raises:
        VideoError: it is damaged, frames before it are lost, or the picture changes its shape.
    """
    if frame.is_corrupt:
        raise VideoError("corrupt", f"{path.name}: frame {index} is damaged")
    if line.pts is not None and frame.pts is not None and frame.pts > line.pts[index]:
        raise VideoError("corrupt", f"{path.name}: frame {index} is missing")
    height, width = line.geometry.shown(frame.height, frame.width, Orientation.of(frame))
    before = line.display_size
    if abs(height * before[1] / (width * before[0]) - 1) > _SAME_SHAPE:
        raise VideoError(
            "changes_shape",
            f"{path.name}: from frame {index} on it is {height} x {width}, before"
            f" {before[0]} x {before[1]} pixels; part it there",
        )


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
        uint8 [T, H, W, 3] RGB with T = len(indices), as shown.

    Raises:
        ValueError: no index is given, or one lies outside the file.
        VideoError: the file can not be read.
    """
    pictures = read_pictures(path, indices)
    size = size or pictures[0].shown  # also for a video that changes size on its way
    return np.stack([picture.resized(size) for picture in pictures])


def read_pictures(path: str | Path, indices: Sequence[int]) -> list[Picture]:
    """Read frames as :func:`read_frames`, but not yet at any size."""
    found: dict[int, Picture] = {}
    num_bytes = 0
    for index, picture in iter_wanted(path, indices):
        num_bytes += picture.pixels.nbytes if index not in found else 0
        if num_bytes > limits.DECODED_BYTES:
            raise too_many(path, indices)
        found[index] = picture
    return [found[int(index)] for index in indices]


def too_many(path: str | Path, indices: Sequence[int]) -> VideoError:
    """What to say of frames that do not fit into memory."""
    return VideoError(
        "too_large",
        f"{Path(path).name}: {len(set(indices))} frames of it are more than the"
        f" {limits.DECODED_BYTES:,} bytes that are held at a time",
    )


def iter_wanted(
    path: str | Path, indices: Sequence[int] | np.ndarray
) -> Iterator[tuple[int, Picture]]:
    """Yield the frames with these indices one by one, as they are decoded.

    Args:
        path: a video or an image; an image has frame 0 only.
        indices: frame indices in any order, at least one.

    Yields:
        (index, picture), mostly in rising order. In a file whose index turns out to be wrong an
        index may come twice: the last one counts.

    Raises:
        ValueError: no index is given, or one lies outside the file.
        VideoError: the file can not be read.
    """
    yield from iter_made(Path(path), indices, picture_of)


def iter_made(
    path: Path,
    indices: Sequence[int] | np.ndarray,
    convert: Callable[[VideoFrame, Geometry], _P],
    source: Path | None = None,
) -> Iterator[tuple[int, _P | Picture]]:
    """Yield what `convert` makes of the frames of :func:`iter_wanted`; still pictures as such.

    Args:
        path: as there.
        indices: as there.
        convert: makes a picture of a frame and of what its file says of its shape.
        source: what the file was cut from, if it was; it tells how its pictures were woven.
    """
    wanted = sorted({int(index) for index in indices})
    if not wanted:
        raise ValueError(f"{path}: at least one frame index is needed")
    if _is_picture(path):
        _check_range(path, wanted, 1 if is_image(path) else timeline(path).num_frames)
        for index, picture in enumerate(_pictures_of_picture(path)):
            if index in wanted:
                yield index, picture
        return
    if not (yield from indexed_frames(path, wanted, convert, source)):
        yield from _read_wanted(path, wanted, convert)


def _is_picture(path: Path) -> bool:
    try:
        return bool(content_of(path).picture)
    except OSError:
        return False  # opening it says why


def _pictures_of_picture(path: Path) -> Iterator[Picture]:
    is_still = is_image(path)
    for pixels in iter([read_image(path)[0]]) if is_still else moving_frames(path):
        yield Picture(pixels, (pixels.shape[0], pixels.shape[1]), is_still)


def _check_range(path: Path, wanted: list[int], num_frames: int) -> None:
    if wanted[0] < 0 or wanted[-1] >= num_frames:
        raise ValueError(f"{path}: frames {wanted[0]}..{wanted[-1]} asked, it has {num_frames}")


def _read_wanted(
    path: Path, wanted: list[int], convert: Callable[[VideoFrame, Geometry], _P]
) -> Iterator[tuple[int, _P]]:
    line = timeline(path)
    _check_range(path, wanted, line.num_frames)
    with open_video(path) as (container, stream):
        for run in _runs(wanted, line):
            missing = set(run)
            frames = _from_index(path, container, stream, line, run[0])
            for index, frame in whole_pictures(path, frames, partial(_frames_from, path)):
                if index in missing:
                    yield index, convert(frame, line.geometry)
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


def _frames_from(path: Path, start: int) -> Numbered:
    """Yield (index, frame) as stored from frame `start` on, opening the file for it."""
    with open_video(path) as (container, stream):
        yield from _from_index(path, container, stream, timeline(path), start)


def _from_index(
    path: Path, container: InputContainer, stream: VideoStream, line: Timeline, start: int
) -> Numbered:
    """Yield (index, frame) from frame `start` on."""
    if start >= line.num_frames:
        return
    if line.pts is not None and line.key_pts.size:
        target = int(line.pts[start])
        # several frames in one packet of an MPEG program share its time; behind a seek the times
        # of all but the first are guessed from there, and only a right keyframe sets them right
        likely = line.key_pts if line.container == "mpeg" else line.pts
        # a seek may land late in odd files: go back one keyframe further until it does not
        earlier = np.searchsorted(line.key_pts, target, side="right")
        for key_pts in line.key_pts[:earlier][::-1][:3]:
            container.seek(int(key_pts), stream=stream, backward=True)
            frames = frames_of(container, stream)
            first = next(frames, None)
            time = None if first is None else first.pts
            if first is not None and time is not None and time in likely and time <= target:
                yield from _numbered(line.pts, first, frames, start)
                return
    with open_video(path) as (again, video):
        for index, frame in enumerate(frames_of(again, video)):
            if index >= start:
                yield index, frame


def _numbered(
    pts: np.ndarray, first: VideoFrame, rest: Iterator[VideoFrame], start: int
) -> Numbered:
    frame: VideoFrame | None = first
    while frame is not None:
        index = int(np.searchsorted(pts, frame.pts)) if frame.pts is not None else len(pts)
        if start <= index < len(pts) and pts[index] == frame.pts:
            yield index, frame
        frame = next(rest, None)


def picture_of(frame: VideoFrame, geometry: Geometry) -> Picture:
    """A decoded frame in RGB, upright and without the margins of its file."""
    orientation = Orientation.of(frame)
    pixels = orientation.apply(geometry.cut(to_rgb(frame)))
    return Picture(pixels, geometry.shown(frame.height, frame.width, orientation))


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale [H, W, 3]: averages over source pixels where it shrinks, linear where it grows."""
    source = (pixels.shape[0], pixels.shape[1])
    if source == tuple(size):
        return pixels
    shrinks = [new < old for new, old in zip(size, source, strict=True)]
    grows = [new > old for new, old in zip(size, source, strict=True)]
    if any(shrinks) and any(grows):  # OpenCV averages along both sides or along neither
        pixels = _resized(pixels, (size[0], source[1]))
    return cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
