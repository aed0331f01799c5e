"""Facts about a video or an image: exact frame count, rate, display size."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from opensora.media.fields.judged import WHOLE, fields_of
from opensora.media.formats import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from opensora.media.images import is_image, read_image
from opensora.media.timeline import timeline

__all__ = ["IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "VideoInfo", "probe"]


@dataclass(frozen=True)
class VideoInfo:
    """What a file shows.

    Attributes:
        path: the file.
        kind: "video" or "image"; an image is a video of one frame at one frame a second.
        num_frames: exact number of frames that decoding yields.
        fps: frames a second, as a fraction.
        height: pixels as displayed: margins cut off, pixels square, upright.
        width: pixels as displayed.
        source_height: pixels of the stored picture.
        source_width: pixels of the stored picture.
        pixel: width over height of a stored pixel.
        duration_s: from the first frame's appearance to the last one's end.
        codec: name of the codec or of the image format.
        rotation: 0, 90, 180 or 270, degrees counter-clockwise between storage and display.
        pixel_format: FFmpeg's name of the stored form of a pixel, as yuv420p; "" of an image.
        is_variable: whether some frames stand longer than others; then `fps` is the average.
        hdr: whether brightness follows PQ or HLG; frames are converted to SDR, see `hdr`.
        interlaced: whether frames hold two moments; whole pictures are made of them, see `fields`.
        pulldown: whether it is film of which two in five frames were woven of two pictures.
        has_audio: whether the file also holds sound.
    """

    path: Path
    kind: str
    num_frames: int
    fps: Fraction
    height: int
    width: int
    source_height: int
    source_width: int
    pixel: Fraction
    duration_s: float
    codec: str
    rotation: int
    pixel_format: str
    is_variable: bool
    hdr: bool
    interlaced: bool
    pulldown: bool
    has_audio: bool


def probe(path: str | Path) -> VideoInfo:
    """Look into a file; what its header claims is checked against its packets.

    Raises:
        VideoError: with one of the reasons missing, unreadable, empty_file, not_a_video,
            no_video_stream, no_decoder, no_frames, too_large, colour_matrix, corrupt.
    """
    path = Path(path)
    if is_image(path):
        pixels, codec = read_image(path)
        height, width = pixels.shape[:2]
        return VideoInfo(
            *(path, "image", 1, Fraction(1), height, width, height, width, Fraction(1), 1.0),
            *(codec, 0, "", False, False, False, False, False),
        )
    line = timeline(path)
    height, width = line.display_size
    ticks, tick_s = line.ticks()
    fields = fields_of(path) if line.container else WHOLE
    return VideoInfo(
        path=path,
        kind="video",
        num_frames=line.num_frames,
        fps=line.fps,
        height=height,
        width=width,
        source_height=line.height,
        source_width=line.width,
        pixel=line.geometry.pixel,
        duration_s=float(int(ticks[-1]) * tick_s),
        codec=line.codec,
        rotation=90 * line.orientation.turns,
        pixel_format=line.pixel_format,
        is_variable=line.is_variable,
        hdr=line.hdr,
        interlaced=bool(fields.order),
        pulldown=fields.is_pulldown,
        has_audio=line.has_audio,
    )
