"""Open a video file and list the times of its frames; every fault becomes a VideoError."""

import functools
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import ColorTrc
from av.video.stream import VideoStream

from opensora.core.errors import VideoError

# codecs of which one packet is one shown frame (VP8 and MPEG-4 may hide or pack frames)
ONE_FRAME_PER_PACKET = frozenset({"h264", "hevc", "vp9", "av1", "mjpeg", "prores"})
# containers whose index lists every frame, so that fewer frames mean a cut-off file
INDEXED_FORMATS = frozenset({"mov", "mp4", "m4a", "3gp"})
_UNTIMED_FORMATS = frozenset({"avi"})  # packets have no times of their own, FFmpeg guesses them
_HDR = frozenset({ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67})  # PQ and HLG, ITU-R BT.2100
_UNEVEN = 0.05  # intervals that differ by more than this part of the usual one
_NO_TIME = -(2**63)
# first bytes, offset by four for MP4, of files that are videos even when nothing else is readable
_MAGIC = (
    (4, b"ftyp"),
    (4, b"moov"),
    (4, b"mdat"),
    (0, b"\x1aE\xdf\xa3"),
    (0, b"RIFF"),
    (0, b"GIF8"),
)


@dataclass(frozen=True)
class Timeline:
    """What one walk over the packets and one look at the first frame tell.

    Attributes:
        num_frames: exact number of shown frames.
        pts: int64 [num_frames], rising times in ticks of the stream; None where the file has
            no usable times, so that frames can only be counted from the start.
        key_pts: int64 [K], rising times of the frames at which decoding can begin.
        cut_frames: int64 [C], rising numbers of the frames at which the packets can be parted: all
            before show earlier frames, all behind show later ones and need none of the earlier.
        tick_s: seconds that a tick lasts.
        fps: frames a second, on average.
        height: of the stored picture, before rotation.
        width: of the stored picture, before rotation.
        rotation: degrees counter-clockwise that the stored picture is turned for display.
        codec: name of the codec.
        pixel_format: FFmpeg's name of the stored form of a pixel, as yuv420p10le.
        hdr: whether brightness follows PQ or HLG.
    """

    num_frames: int
    pts: np.ndarray | None
    key_pts: np.ndarray
    cut_frames: np.ndarray
    tick_s: Fraction
    fps: Fraction
    height: int
    width: int
    rotation: int
    codec: str
    pixel_format: str
    hdr: bool

    @property
    def display_size(self) -> tuple[int, int]:
        """(height, width) after rotation."""
        if self.rotation in (90, 270):
            return self.width, self.height
        return self.height, self.width

    @property
    def is_variable(self) -> bool:
        """Whether some frames stand longer than others, beyond what rounding to ticks explains."""
        if self.pts is None or len(self.pts) < 3:
            return False
        steps = np.diff(self.pts)
        return bool(np.ptp(steps) > max(1.0, _UNEVEN * float(np.median(steps))))

    def ticks(self) -> tuple[np.ndarray, Fraction]:
        """When each frame appears, counted from the first, and when the last one ends.

        Returns:
            int64 [num_frames + 1], rising, and the seconds of one unit. Where frames are evenly
            spaced the unit is a frame.
        """
        if self.pts is None or not self.is_variable:
            return np.arange(self.num_frames + 1), 1 / self.fps
        usual = max(1, int(np.median(np.diff(self.pts))))
        return np.append(self.pts, self.pts[-1] + usual) - self.pts[0], self.tick_s


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open the file and its first video stream.

    Decoding takes one thread: the pipeline is parallel over files.

    Raises:
        VideoError: any fault on opening or, inside the block, on decoding.
    """
    check_file(path)
    try:
        # the prefix keeps "http:..." a file name; the white list keeps playlists from the network
        with av.open(
            f"file:{path}", metadata_errors="replace", options={"protocol_whitelist": "file"}
        ) as container:
            if container.format.name.endswith("_pipe"):
                raise VideoError("not_a_video", f"{path.name} is a still image with a video's name")
            streams = [
                stream
                for stream in container.streams.video
                if not stream.disposition & Disposition.attached_pic
            ]
            if not streams:
                held = "sound only" if container.streams.audio else "no video stream"
                raise VideoError("no_video_stream", f"{path.name} holds {held}")
            streams[0].codec_context.thread_count = 1
            yield container, streams[0]
    except av.PermissionError as error:
        raise VideoError("unreadable", f"{path.name} may not be read: {error.strerror}") from error
    except (av.FFmpegError, UnicodeDecodeError) as error:
        raise _fault(path, error) from error


def check_file(path: Path) -> None:
    """Refuse what is missing, not a file, or empty.

    Raises:
        VideoError: with the reason missing, unreadable or empty_file.
    """
    if not path.exists():
        raise VideoError("missing", f"{path.name} does not exist")
    if not path.is_file():
        raise VideoError("unreadable", f"{path.name} is not a file")
    if path.stat().st_size == 0:
        raise VideoError("empty_file", f"{path.name} has zero bytes")


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
    with open_video(path) as (container, stream):
        packets = _walk(path, container, stream)
        formats = set(container.format.name.split(","))
        if formats & INDEXED_FORMATS and packets.count < stream.frames:
            counts = f"{packets.count} of {stream.frames} frames"
            raise VideoError("corrupt", f"{path.name} is cut off: {counts} are there")
    times = packets.times
    keys = np.sort(times[packets.are_keys & (times != _NO_TIME)])
    with open_video(path) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise VideoError("no_frames", f"{path.name} has a video stream without any frame")
        codec = stream.codec_context.name
        fps = stream.average_rate or stream.guessed_rate or Fraction(25)  # 25: as FFmpeg assumes
        tick_s = Fraction(stream.time_base or 1 / fps)
    # otherwise frames are counted by decoding them all
    simple = (
        codec in ONE_FRAME_PER_PACKET
        and not formats & _UNTIMED_FORMATS
        and not first.interlaced_frame
        and len(times) > 0
        and bool(packets.are_keys[0])
        and _are_distinct(times)
    )
    if not simple:
        with open_video(path) as (container, stream):
            times = _times(frame.pts for frame in container.decode(stream))
    usable = _are_distinct(times) and (simple or bool((np.diff(times) > 0).all()))
    return Timeline(
        num_frames=len(times),
        pts=np.sort(times) if usable else None,
        key_pts=keys,
        cut_frames=_cut_frames(packets) if simple else np.empty(0, dtype=np.int64),
        tick_s=tick_s,
        fps=Fraction(fps),
        height=first.height,
        width=first.width,
        rotation=round(first.rotation / 90) % 4 * 90,
        codec=codec,
        pixel_format=first.format.name,
        hdr=first.color_trc in _HDR,
    )


@dataclass(frozen=True)
class _Packets:
    """Packets in the order of decoding: times int64 [N] and key flags bool [N] of the shown ones.

    `count` also counts those that an edit list hides.
    """

    times: np.ndarray
    are_keys: np.ndarray
    count: int


def _walk(path: Path, container: InputContainer, stream: VideoStream) -> _Packets:
    times, keys, count = array("q"), bytearray(), 0
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise VideoError("corrupt", f"{path.name} is cut off in the middle of a frame")
        if packet.size:
            count += 1
            if not packet.is_discard:
                times.append(_NO_TIME if packet.pts is None else packet.pts)
                keys.append(packet.is_keyframe)
    return _Packets(np.array(times, dtype=np.int64), np.array(keys, dtype=bool), count)


def _cut_frames(packets: _Packets) -> np.ndarray:
    """Numbers of the keyframes that part the packets; none where an edit list hides some."""
    times = packets.times
    if packets.count != len(times):
        return np.empty(0, dtype=np.int64)
    latest = np.maximum.accumulate(times)
    earliest = np.minimum.accumulate(times[::-1])[::-1]
    # nothing before is later, nothing behind is earlier: place in the file and in time agree
    return np.flatnonzero(packets.are_keys & (times == latest) & (times == earliest))


def _times(times: Iterator[int | None]) -> np.ndarray:
    return np.array(array("q", (_NO_TIME if t is None else t for t in times)), dtype=np.int64)


def _are_distinct(times: np.ndarray) -> bool:
    return _NO_TIME not in times and len(np.unique(times)) == len(times)


def _fault(path: Path, error: Exception) -> VideoError:
    with open(path, "rb") as file:
        head = file.read(16)
    cause = str(getattr(error, "strerror", None) or error).lower()
    if any(head[at:].startswith(magic) for at, magic in _MAGIC):
        return VideoError("corrupt", f"{path.name} is damaged or cut off ({cause})")
    return VideoError("not_a_video", f"{path.name} is not a video ({cause})")
