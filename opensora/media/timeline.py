"""When the frames of a video appear: from their own times, never from what the header claims."""

import functools
from array import array
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from opensora.core.errors import VideoError
from opensora.media.clock import continuous_times, is_uneven, rate_of, usual_step
from opensora.media.colour import matrix_of
from opensora.media.container import (
    INDEXED_FORMATS,
    ONE_FRAME_PER_PACKET,
    codec_of,
    geometry_of,
    open_video,
)
from opensora.media.formats import check_file, content_of
from opensora.media.geometry import Geometry, Orientation
from opensora.media.hdr import is_hdr
from opensora.media.images import moving_facts
from opensora.media.pictures import frames_of, is_of_fields

_UNTIMED_FORMATS = frozenset({"avi"})  # packets have an order and no times: FFmpeg guesses them
# containers of broadcasts and live recordings, whose clocks start anew and jump
_CLOCKED_FORMATS = frozenset({"mpegts", "mpeg", "flv", "asf"})
_LONGEST_STAND_S = {True: 10, False: 600}  # of a frame, in those and in others; then a clock jumped
_NO_TIME = -(2**63)


@dataclass(frozen=True)
class Timeline:
    """What one walk over the packets and one look at the first frame tell.

    Attributes:
        num_frames: exact number of shown frames.
        pts: int64 [num_frames], rising times in ticks of the stream by which frames can be sought;
            None where there are none, so that frames can only be counted from the start.
        times: int64 [num_frames], rising, in ticks: when frames appear, without the jumps of a
            clock; None where the file tells no times.
        breaks: int64 [B], rising numbers of the frames at which a clock starts anew or jumps.
        key_pts: int64 [K], rising times of the frames at which decoding can begin.
        cut_frames: int64 [C], rising numbers of the frames at which the packets can be parted: all
            before show earlier frames, all behind show later ones and need none of the earlier.
        tick_s: seconds that a tick lasts.
        fps: frames a second: the rate of evenly spaced frames, else the average.
        height: of the stored picture, as decoded.
        width: of the stored picture, as decoded.
        geometry: margins, and the shape of a pixel.
        orientation: of the first frame.
        codec: name of the codec.
        pixel_format: FFmpeg's name of the stored form of a pixel, as yuv420p10le.
        hdr: whether brightness follows PQ or HLG.
        has_audio: whether the file also holds sound.
        container: FFmpeg's name of the format; "" of a moving picture.
        track: number of the track among all of the file.
    """

    num_frames: int
    pts: np.ndarray | None
    times: np.ndarray | None
    breaks: np.ndarray
    key_pts: np.ndarray
    cut_frames: np.ndarray
    tick_s: Fraction
    fps: Fraction
    height: int
    width: int
    geometry: Geometry
    orientation: Orientation
    codec: str
    pixel_format: str
    hdr: bool
    has_audio: bool
    container: str
    track: int

    @property
    def display_size(self) -> tuple[int, int]:
        """(height, width) as shown."""
        return self.geometry.shown(self.height, self.width, self.orientation)

    @property
    def is_variable(self) -> bool:
        """Whether some frames stand longer than others, beyond what rounding to ticks explains."""
        return self.times is not None and is_uneven(self.times)

    def ticks(self) -> tuple[np.ndarray, Fraction]:
        """When each frame appears, counted from the first, and when the last one ends.

        Returns:
            int64 [num_frames + 1], rising, and the seconds of one unit. Where frames are evenly
            spaced the unit is a frame.
        """
        if self.times is None or not self.is_variable:
            return np.arange(self.num_frames + 1), 1 / self.fps
        end = self.times[-1] + usual_step(self.times)
        return np.append(self.times, end) - self.times[0], self.tick_s


@dataclass(frozen=True)
class _Packets:
    """Packets in the order of decoding: times int64 [N] and key flags bool [N] of the shown ones.

    `order` is by when they are decoded, `count` also counts those that an edit list hides.
    """

    times: np.ndarray
    order: np.ndarray
    are_keys: np.ndarray
    count: int


@dataclass(frozen=True)
class _Header:
    """What a stream says of itself, to be checked: rates a second, the most trusted first."""

    rates: tuple[Fraction, ...]
    tick_s: Fraction
    formats: frozenset[str]
    container: str
    track: int
    codec: str
    geometry: Geometry
    has_audio: bool


def timeline(path: Path) -> Timeline:
    """List the frames of a video; the answer is kept while the file does not change.

    Raises:
        VideoError: the file can not be read, is cut off, or shows no frame.
    """
    check_file(path)
    facts = path.stat()
    return _timeline(path, facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _timeline(path: Path, size: int, mtime_ns: int) -> Timeline:
    if _is_moving_picture(path):
        return _of_pictures(path)
    with open_video(path) as (container, stream):
        header = _header(path, container, stream)
        packets = _walk(path, container, stream, header.formats)
    with open_video(path) as (container, stream):
        first = next(frames_of(container, stream), None)
        if first is None:
            raise VideoError("no_frames", f"{path.name} has a video stream without any frame")
        _check_colours(path, first)
    longest = int(_LONGEST_STAND_S[bool(header.formats & _CLOCKED_FORMATS)] / header.tick_s)
    simple = _tell_all(packets, header, first, longest)
    times = np.sort(packets.times) if simple else _decoded_times(path, packets)
    shown, breaks = continuous_times(times, longest)
    if header.formats & _UNTIMED_FORMATS and len(packets.order) == len(times):
        # what the decoder guesses is no time, but the places of the packets are evenly counted
        shown, _ = continuous_times(np.sort(packets.order), longest)
    usable = _are_distinct(times) and not len(breaks) and bool((np.diff(times) > 0).all())
    # a seek may land between the two fields of a frame
    usable = usable and not is_of_fields(header.codec, first)
    keys = packets.times[packets.are_keys & (packets.times != _NO_TIME)]
    return Timeline(
        num_frames=len(times),
        pts=times if usable else None,
        times=shown,
        breaks=breaks,
        key_pts=np.sort(keys),
        cut_frames=_cut_frames(packets) if simple else np.empty(0, dtype=np.int64),
        tick_s=header.tick_s,
        fps=rate_of(shown, header.tick_s, header.rates),
        height=first.height,
        width=first.width,
        geometry=header.geometry,
        orientation=Orientation.of(first),
        codec=header.codec,
        pixel_format=first.format.name,
        hdr=is_hdr(first),
        has_audio=header.has_audio,
        container=header.container,
        track=header.track,
    )


def _is_moving_picture(path: Path) -> bool:
    try:
        return content_of(path).is_moving
    except OSError:
        return False  # opening it says why


def _of_pictures(path: Path) -> Timeline:
    """Timeline of a moving picture, which Pillow reads."""
    facts = moving_facts(path)
    times = np.array(facts.times_ms, dtype=np.int64)
    nothing = np.empty(0, dtype=np.int64)
    tick_s = Fraction(1, 1000)
    return Timeline(
        num_frames=len(times),
        pts=None,
        times=times,
        breaks=nothing,
        key_pts=nothing,
        cut_frames=nothing,
        tick_s=tick_s,
        fps=rate_of(times, tick_s, ()),
        height=facts.height,
        width=facts.width,
        geometry=Geometry(),
        orientation=Orientation(),
        codec=facts.codec,
        pixel_format="",
        hdr=False,
        has_audio=False,
        container="",
        track=0,
    )


def _header(path: Path, container: InputContainer, stream: VideoStream) -> _Header:
    rates = (stream.average_rate, stream.base_rate, stream.guessed_rate)
    known = tuple(Fraction(rate) for rate in rates if rate)
    fallback = known[0] if known else Fraction(25)  # as FFmpeg assumes
    return _Header(
        rates=known,
        tick_s=Fraction(stream.time_base or 1 / fallback),
        formats=frozenset(container.format.name.split(",")),
        container=container.format.name.split(",")[0],
        track=stream.index,
        codec=codec_of(stream),
        geometry=geometry_of(path, container, stream),
        has_audio=bool(container.streams.audio),
    )


def _check_colours(path: Path, frame: VideoFrame) -> None:
    try:
        matrix_of(frame)
    except VideoError as error:
        raise VideoError(error.reason, f"{path.name}: {error.detail}") from error


def _walk(
    path: Path, container: InputContainer, stream: VideoStream, formats: frozenset[str]
) -> _Packets:
    """List the packets.

    Raises:
        VideoError: fewer are there than the index lists.
    """
    times, order, keys, count = array("q"), array("q"), bytearray(), 0
    is_whole = True
    for packet in container.demux(stream):
        is_whole = is_whole and not packet.is_corrupt
        if packet.size:
            count += 1
            if not packet.is_discard:
                times.append(_NO_TIME if packet.pts is None else packet.pts)
                order.append(_NO_TIME if packet.dts is None else packet.dts)
                keys.append(packet.is_keyframe)
    if formats & INDEXED_FORMATS and (count < stream.frames or not is_whole):
        counts = f"{count} of {stream.frames} frames"
        raise VideoError("corrupt", f"{path.name} is cut off: {counts} are there")
    return _Packets(
        np.array(times, dtype=np.int64),
        np.array(order, dtype=np.int64),
        np.array(keys, dtype=bool),
        count,
    )


def _tell_all(packets: _Packets, header: _Header, first: VideoFrame, longest: int) -> bool:
    """Whether the packets tell when each frame is shown; else all have to be decoded."""
    return (
        header.codec in ONE_FRAME_PER_PACKET
        and not header.formats & _UNTIMED_FORMATS
        and not first.interlaced_frame
        and len(packets.times) > 0
        and bool(packets.are_keys[0])
        and _are_distinct(packets.times)
        and not len(continuous_times(np.sort(packets.times), longest)[1])
    )


def _decoded_times(path: Path, packets: _Packets) -> np.ndarray:
    """Times of the frames in the order of showing, by decoding them all.

    Where decoding ends early, the packets say how many were to follow.
    """
    times = array("q")
    try:
        with open_video(path) as (container, stream):
            for frame in frames_of(container, stream):
                times.append(_NO_TIME if frame.pts is None else frame.pts)
    except VideoError:
        if not times:
            raise
        missing = max(1, len(packets.times) - len(times))
        return np.array([*times, *[_NO_TIME] * missing], dtype=np.int64)
    return np.array(times, dtype=np.int64)


def _cut_frames(packets: _Packets) -> np.ndarray:
    """Numbers of the keyframes that part the packets; none where an edit list hides some."""
    times = packets.times
    if packets.count != len(times):
        return np.empty(0, dtype=np.int64)
    latest = np.maximum.accumulate(times)
    earliest = np.minimum.accumulate(times[::-1])[::-1]
    # nothing before is later, nothing behind is earlier: place in the file and in time agree
    return np.flatnonzero(packets.are_keys & (times == latest) & (times == earliest))


def _are_distinct(times: np.ndarray) -> bool:
    return _NO_TIME not in times and len(np.unique(times)) == len(times)
