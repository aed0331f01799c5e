"""Open a video file at the track that players show; every fault becomes a VideoError."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from opensora.core import limits
from opensora.core.errors import VideoError
from opensora.media.crop import margins_of
from opensora.media.formats import CONTAINERS, OPENED, check_file, content_of
from opensora.media.geometry import Geometry, square_or_not

# codecs of which one packet is one shown frame (VP8 and MPEG-4 may hide or pack frames)
ONE_FRAME_PER_PACKET = frozenset({"h264", "hevc", "vp9", "av1", "mjpeg", "prores"})
# containers whose index lists every frame, so that fewer frames mean a cut-off file
INDEXED_FORMATS = frozenset({"mov", "mp4", "m4a", "3gp"})
_NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails
# no file that a file names is opened, and no reader that would look for one
READER_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(CONTAINERS)}


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open the file and the track that players show: the default one, else the largest.

    Decoding takes one thread: the pipeline is parallel over files, and frames of damaged files
    would differ from run to run.

    Raises:
        VideoError: any fault on opening or, inside the block, on decoding.
    """
    check_file(path)
    try:
        content = content_of(path)
        if content.refused or content.picture:
            what = content.refused or "a picture, and a video was expected"
            raise VideoError("not_a_video", f"{path.name} is {what}; opened are {OPENED}")
        # the prefix keeps "http:..." a file name
        with av.open(
            f"file:{path}",
            format=content.container or None,
            metadata_errors="replace",
            options=dict(READER_OPTIONS),
        ) as container:
            stream = _shown_stream(path, container)
            _check_size(path, stream)
            stream.codec_context.thread_count = 1
            yield container, stream
    except (PermissionError, av.PermissionError) as error:
        raise VideoError("unreadable", f"{path.name} may not be read: {error.strerror}") from error
    except (av.FFmpegError, UnicodeDecodeError) as error:
        raise _fault(path, error) from error


def codec_of(stream: VideoStream) -> str:
    """The codec's own name: that of the decoder may be another, as libdav1d of av1."""
    return stream.codec_context.codec.canonical_name


def geometry_of(path: Path, container: InputContainer, stream: VideoStream) -> Geometry:
    """What an open file says of the shape of its pictures."""
    name = container.format.name.split(",")[0]
    place = stream.id if name == "mov" else container.streams.video.index(stream)
    context = stream.codec_context
    margins = margins_of(path, name, place, (context.height, context.width))
    ratio = stream.sample_aspect_ratio  # the container's, else the codec's
    return Geometry(margins, square_or_not(Fraction(ratio) if ratio else None))


def _shown_stream(path: Path, container: InputContainer) -> VideoStream:
    """The track that players show; of equal ones the first.

    Raises:
        VideoError: there is none, or none that can be decoded.
    """
    streams = [each for each in container.streams.video if not each.disposition & _NO_FILM]
    if not streams:
        held = "sound only" if container.streams.audio else "no video stream"
        raise VideoError("no_video_stream", f"{path.name} holds {held}")
    able = [each for each in streams if each.codec_context is not None]
    if not able:
        raise VideoError(
            "no_decoder", f"{path.name} holds video of a codec that this FFmpeg can not decode"
        )
    default = [each for each in able if each.disposition & Disposition.default]
    return max(default or able, key=lambda each: each.width * each.height)


def _check_size(path: Path, stream: VideoStream) -> None:
    """Refuse pictures whose decoder would take more memory than a rule asks for.

    Raises:
        VideoError: they are too large.
    """
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > limits.VIDEO_PIXELS:
        raise VideoError(
            "too_large",
            f"{path.name} has {width} x {height} pixels, of videos at most {limits.VIDEO_PIXELS:,}"
            " are read",
        )


def _fault(path: Path, error: Exception) -> VideoError:
    cause = str(getattr(error, "strerror", None) or error).lower()
    if content_of(path).container:
        return VideoError("corrupt", f"{path.name} is damaged or cut off ({cause})")
    return VideoError("not_a_video", f"{path.name} is not a video; opened are {OPENED} ({cause})")
