"""Open a video file and list the times of its frames; every fault becomes a VideoError."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from opensora.core.errors import VideoError

# codecs of which one packet is one shown frame (VP8 and MPEG-4 may hide or pack frames)
_ONE_FRAME_PER_PACKET = frozenset({"h264", "hevc", "vp9", "av1", "mjpeg", "prores"})
# containers whose index lists every frame, so that fewer frames mean a cut-off file
_INDEXED_FORMATS = frozenset({"mov", "mp4", "m4a", "3gp"})
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
        fps: frames a second.
        height: of the stored picture, before rotation.
        width: of the stored picture, before rotation.
        rotation: degrees counter-clockwise that the stored picture is turned for display.
        codec: name of the codec.
    """

    num_frames: int
    pts: np.ndarray | None
    key_pts: np.ndarray
    fps: Fraction
    height: int
    width: int
    rotation: int
    codec: str

    @property
    def display_size(self) -> tuple[int, int]:
        """(height, width) after rotation."""
        if self.rotation in (90, 270):
            return self.width, self.height
        return self.height, self.width


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
                raise VideoError("no_video_stream", f"{path.name} holds no video stream")
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


@functools.lru_cache(maxsize=16)
def _timeline(path: Path, size: int, mtime_ns: int) -> Timeline:
    with open_video(path) as (container, stream):
        shown, num_packets = _walk(path, container, stream)
        indexed = not _INDEXED_FORMATS.isdisjoint(container.format.name.split(","))
        if indexed and num_packets < stream.frames:
            counts = f"{num_packets} of {stream.frames} frames"
            raise VideoError("corrupt", f"{path.name} is cut off: {counts} are there")
    times = [pts for pts, _ in shown]
    keys = sorted(pts for pts, is_key in shown if is_key and pts is not None)
    with open_video(path) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise VideoError("no_frames", f"{path.name} has a video stream without any frame")
        codec = stream.codec_context.name
        fps = stream.average_rate or stream.guessed_rate or Fraction(25)  # 25: as FFmpeg assumes
    simple = codec in _ONE_FRAME_PER_PACKET and not first.interlaced_frame
    if not (simple and shown and shown[0][1] and _are_distinct(times)):
        with open_video(path) as (container, stream):
            times = [frame.pts for frame in container.decode(stream)]
    known = [time for time in times if time is not None]
    return Timeline(
        num_frames=len(times),
        pts=np.array(sorted(known), dtype=np.int64) if _are_distinct(times) else None,
        key_pts=np.array(keys, dtype=np.int64),
        fps=Fraction(fps),
        height=first.height,
        width=first.width,
        rotation=round(first.rotation / 90) % 4 * 90,
        codec=codec,
    )


def _walk(
    path: Path, container: InputContainer, stream: VideoStream
) -> tuple[list[tuple[int | None, bool]], int]:
    """Return (pts, is keyframe) of the shown packets, and how many with those edited out."""
    shown, num_packets = [], 0
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise VideoError("corrupt", f"{path.name} is cut off in the middle of a frame")
        if packet.size:
            num_packets += 1
            if not packet.is_discard:
                shown.append((packet.pts, packet.is_keyframe))
    return shown, num_packets


def _are_distinct(times: list[int | None]) -> bool:
    return None not in times and len(set(times)) == len(times)


def _fault(path: Path, error: Exception) -> VideoError:
    with open(path, "rb") as file:
        head = file.read(16)
    cause = str(getattr(error, "strerror", None) or error).lower()
    if any(head[at:].startswith(magic) for at, magic in _MAGIC):
        return VideoError("corrupt", f"{path.name} is damaged or cut off ({cause})")
    return VideoError("not_a_video", f"{path.name} is not a video ({cause})")
