"""Facts about a video or an image: exact frame count, rate, display size."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from opensora.media.container import check_file, timeline
from opensora.media.images import IMAGE_SUFFIXES, is_image, read_image

__all__ = ["IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "VideoInfo", "probe"]

# an animated GIF is a video here
VIDEO_SUFFIXES = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".gif"),
        *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".ogv"),
    }
)


@dataclass(frozen=True)
class VideoInfo:
    """What a file shows.

    Attributes:
        path: the file.
        kind: "video" or "image"; an image is a video of one frame at one frame a second.
        num_frames: exact number of frames that decoding yields.
        fps: frames a second, as a fraction.
        height: pixels as displayed, rotation applied.
        width: pixels as displayed, rotation applied.
        duration_s: from the first frame's appearance to the last one's end.
        codec: name of the codec or of the image format.
        rotation: 0, 90, 180 or 270, degrees counter-clockwise between storage and display.
        pixel_format: FFmpeg's name of the stored form of a pixel, as yuv420p; "" of an image.
        is_variable: whether some frames stand longer than others; then `fps` is the average.
        hdr: whether brightness follows PQ or HLG, which plain RGB shows too dull.
    """

    path: Path
    kind: str
    num_frames: int
    fps: Fraction
    height: int
    width: int
    duration_s: float
    codec: str
    rotation: int
    pixel_format: str
    is_variable: bool
    hdr: bool


def probe(path: str | Path) -> VideoInfo:
    """Look into a file; what its header claims is checked against its packets.

    Raises:
        VideoError: with one of the reasons missing, unreadable, empty_file, not_a_video,
            no_video_stream, no_frames, too_large, corrupt.
    """
    path = Path(path)
    if is_image(path):
        check_file(path)
        pixels, codec = read_image(path)
        height, width = pixels.shape[:2]
        return VideoInfo(
            path, "image", 1, Fraction(1), height, width, 1.0, codec, 0, "", False, False
        )
    line = timeline(path)
    height, width = line.display_size
    ticks, tick_s = line.ticks()
    return VideoInfo(
        path=path,
        kind="video",
        num_frames=line.num_frames,
        fps=line.fps,
        height=height,
        width=width,
        duration_s=float(int(ticks[-1]) * tick_s),
        codec=line.codec,
        rotation=line.rotation,
        pixel_format=line.pixel_format,
        is_variable=line.is_variable,
        hdr=line.hdr,
    )
