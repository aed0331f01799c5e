"""Write frames as an H.264 file that plays in every browser."""

import functools
import shutil
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from opensora.core.io import atomic_path

# x264's macroblock tree gives other bytes from run to run at widths such as 96 and 160 (its AVX-512
# code reads past the rows of the half-size picture)
X264_REPRODUCIBLE = "mbtree=0"

# a floating-point rate is taken for the nearest fraction of this size, 29.97 for 30000/1001
_MAX_DENOMINATOR = 1001


def write_video(
    path: str | Path, frames: np.ndarray, fps: Fraction | float, *, crf: int = 18
) -> None:
    """Write an MP4 file (H.264, 4:2:0, BT.709, index first), whole or not at all.

    Equal frames give equal bytes. Odd sizes grow by one repeated row or column, because 4:2:0
    needs even ones.

    Args:
        path: the file to write.
        frames: uint8 [T, H, W, 3] RGB, T at least 1.
        fps: frames a second.
        crf: constant rate factor; 0 is lossless, 18 looks so, larger is smaller.

    Raises:
        ValueError: the array or the rate is not as described.
        OpenSoraError: the file can not be written.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise ValueError(f"frames: uint8 [T, H, W, 3] expected, got {frames.dtype} {frames.shape}")
    rate = exact_fps(fps)
    height, width = (side + side % 2 for side in frames.shape[1:3])
    with (
        atomic_path(path) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"crf": str(crf), "preset": "fast", "x264-params": X264_REPRODUCIBLE}
        context = stream.codec_context
        context.thread_count = 1  # the bytes depend on the number of threads
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        for index, pixels in enumerate(frames):
            padding = ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0))
            frame = VideoFrame.from_ndarray(np.pad(pixels, padding, mode="edge"), format="rgb24")
            frame = frame.reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
            )
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def exact_fps(fps: Fraction | float) -> Fraction:
    """Turn a rate into a fraction: 29.97 is 30000/1001, 12.5 is 25/2.

    Raises:
        ValueError: the rate is not positive.
    """
    if not fps > 0:
        raise ValueError(f"fps={fps}: expected more than 0")
    if isinstance(fps, Fraction):
        return fps
    ntsc = Fraction(round(fps) * 1000, 1001)
    if abs(fps - float(ntsc)) < 0.005 < abs(fps - round(fps)):
        return ntsc
    return Fraction(fps).limit_denominator(_MAX_DENOMINATOR)


@functools.cache
def ffmpeg_executable() -> str:
    """Return the path of ffmpeg: the system's, else the one that imageio-ffmpeg brings."""
    return shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()
