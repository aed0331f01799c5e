"""Frames by number through the index of the file: no walk over packets, no needless decoding.

An MP4 file lists its frames in its header. Where they are evenly spaced, the time of frame k is
known without reading the file, and a window deep inside a long video costs one seek and the frames
from the keyframe before it. Everything is checked while decoding; where a check fails the caller
counts frames the slow way.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from opensora.media.container import (
    INDEXED_FORMATS,
    ONE_FRAME_PER_PACKET,
    codec_of,
    geometry_of,
    open_video,
)
from opensora.media.fields.judged import is_woven
from opensora.media.geometry import Geometry

_P = TypeVar("_P")  # what is made of a frame
_SEEKS = 3  # keyframes tried, the nearest first


@dataclass(frozen=True)
class FrameIndex:
    """Evenly spaced frames of a file.

    Attributes:
        first: time of frame 0 in ticks of the stream.
        step: ticks from one frame to the next.
        num_frames: frames in all.
        keys: int64 [K], rising numbers of the frames at which decoding can begin.
    """

    first: int
    step: int
    num_frames: int
    keys: np.ndarray

    def time(self, frame: int) -> int:
        """Ticks of a frame."""
        return self.first + self.step * frame

    def has(self, time: int | None) -> bool:
        """Whether a frame stands at this time."""
        if time is None:
            return False
        frame, rest = divmod(time - self.first, self.step)
        return rest == 0 and 0 <= frame < self.num_frames

    def runs(self, wanted: Sequence[int]) -> list[list[int]]:
        """Group sorted frame numbers: one run for each stretch between two keyframes."""
        runs: dict[int, list[int]] = {}
        stretches = np.searchsorted(self.keys, wanted, side="right")
        for frame, stretch in zip(wanted, stretches, strict=True):
            runs.setdefault(int(stretch), []).append(frame)
        return list(runs.values())


def indexed_frames(
    path: Path,
    wanted: Sequence[int],
    convert: Callable[[VideoFrame, Geometry], _P],
    source: Path | None = None,
) -> Generator[tuple[int, _P], None, bool]:
    """Decode some frames of a video.

    Args:
        path: a video.
        wanted: rising frame numbers, at least one.
        convert: makes a picture of a frame and of what its file says of its shape.
        source: what the video was cut from, if it was.

    Yields:
        (number, picture), each once.

    Returns:
        Whether the index could be trusted to the end; if not, what was yielded may be wrong.

    Raises:
        VideoError: the file can not be read.
    """
    with open_video(path) as (container, stream):
        index = read_frame_index(container, stream)
        if index is None or wanted[0] < 0 or wanted[-1] >= index.num_frames:
            return False
        geometry = geometry_of(path, container, stream)

        def of_file(frame: VideoFrame) -> _P:
            return convert(frame, geometry)

        def woven(frame: VideoFrame) -> bool:
            return is_woven(path, frame, source)

        for run in index.runs(wanted):
            if not (yield from _decode_run(woven, container, stream, index, run, of_file)):
                return False
    return True


def read_frame_index(container: InputContainer, stream: VideoStream) -> FrameIndex | None:
    """Read the index of an open file; None where it does not tell the time of every frame."""
    codec = codec_of(stream)
    if INDEXED_FORMATS.isdisjoint(container.format.name.split(",")):
        return None
    entries = [(e.timestamp, e.is_keyframe, e.is_discard) for e in stream.index_entries]
    if codec not in ONE_FRAME_PER_PACKET or not entries or len(entries) != stream.frames:
        return None
    times, is_key, is_discard = (np.array(column) for column in zip(*entries, strict=True))
    steps = np.diff(times)
    step = int(steps[0]) if steps.size else 1
    if is_discard.any() or step <= 0 or (steps != step).any():
        return None
    # evenly spaced in decoding order means evenly spaced in showing order, a few steps later
    first = next(container.demux(stream))
    if first.pts is None or first.pts != stream.start_time or not first.is_keyframe:
        return None
    return FrameIndex(first.pts, step, len(entries), np.flatnonzero(is_key))


def _decode_run(
    woven: Callable[[VideoFrame], bool],
    container: InputContainer,
    stream: VideoStream,
    index: FrameIndex,
    run: Sequence[int],
    convert: Callable[[VideoFrame], _P],
) -> Generator[tuple[int, _P], None, bool]:
    """Yield the frames of one stretch; False where the file is not what its index says."""
    context = stream.codec_context
    size = (context.width, context.height)
    missing = {index.time(frame): frame for frame in run}
    for packet in _packets_before(container, stream, index, run[0]):
        if packet.size and (packet.is_corrupt or not index.has(packet.pts)):
            return False
        # a frame that is not wanted and that no other frame builds on is not decoded; the last
        # packet is empty and flushes the decoder
        needed = not packet.size or packet.pts in missing
        context.skip_frame = "DEFAULT" if needed else "NONREF"
        for frame in packet.decode():
            if frame.interlaced_frame or (frame.width, frame.height) != size:
                return False
            if frame.pts in missing:
                if woven(frame):
                    return False
                yield missing.pop(frame.pts), convert(frame)
        if not missing:
            return True
    return False


def _packets_before(
    container: InputContainer, stream: VideoStream, index: FrameIndex, frame: int
) -> Iterator[Packet]:
    """Packets from a keyframe at or before a frame on; none where no seek leads there."""
    # frames may stand before their keyframe in an open group: then from one keyframe earlier
    earlier = np.searchsorted(index.keys, frame, side="right")
    for key in index.keys[:earlier][::-1][:_SEEKS]:
        container.seek(index.time(int(key)), stream=stream, backward=True)
        packets = container.demux(stream)
        first = next(packets)
        if first.is_keyframe and first.pts is not None and first.pts <= index.time(frame):
            yield first
            yield from packets
            return
