"""Clip files: an MP4 encoded by ffmpeg from a stream of frames, or a PNG.

Each file carries a `recipe` in its metadata: a hash of everything that decides its content. A
finished file with the right recipe need not be made again, one with another is replaced.
"""

import subprocess
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import ffmpeg
import numpy as np
from PIL import Image, PngImagePlugin

from opensora.core.errors import OpenSoraError, VideoError
from opensora.core.io import atomic_path
from opensora.media.encode import X264_REPRODUCIBLE, ffmpeg_executable

CRF = 18  # constant rate factor of H.264; 18 is visually lossless
PRESET = "fast"
_MATRIX = "bt709"
_PNG_KEY = "recipe"


def write_clip(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    num_frames: int,
    size: tuple[int, int],
    fps: Fraction,
    recipe: str,
) -> None:
    """Encode frames to H.264 4:2:0 BT.709; equal frames give equal bytes.

    Args:
        path: the `.mp4` file; it appears whole or not at all.
        frames: uint8 [H, W, 3] RGB of the given size, one at a time.
        num_frames: how many frames must come.
        size: (height, width), both even.
        fps: frames a second.
        recipe: see the module.

    Raises:
        VideoError: fewer frames came than announced, or reading them failed.
        OpenSoraError: ffmpeg failed.
    """
    with atomic_path(path) as temporary, tempfile.TemporaryFile() as errors:
        command = _command(temporary, size, fps, recipe)
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors)
        assert process.stdin is not None  # a pipe was asked for
        count = 0
        try:
            for frame in frames:
                process.stdin.write(np.ascontiguousarray(frame).tobytes())
                count += 1
            process.stdin.close()
        except BrokenPipeError:
            pass  # ffmpeg ended early; its own words are reported below
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.wait() != 0:
            errors.seek(0)
            words = errors.read().decode(errors="replace").strip().splitlines()
            raise OpenSoraError(f"{path}: ffmpeg failed ({words[-1] if words else 'no message'})")
        if count != num_frames:
            raise VideoError(
                "corrupt", f"{path.stem}: {count} of {num_frames} frames were readable"
            )


def write_still(path: Path, pixels: np.ndarray, *, recipe: str) -> None:
    """Write a uint8 [H, W, 3] RGB image as PNG with its recipe."""
    notes = PngImagePlugin.PngInfo()
    notes.add_text(_PNG_KEY, recipe)
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", pnginfo=notes)


def read_recipe(path: Path) -> str:
    """Recipe of a finished clip file; "" when there is none."""
    if not path.is_file():
        return ""
    try:
        if path.suffix == ".png":
            with Image.open(path) as image:
                return str(image.info.get(_PNG_KEY, ""))
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            return container.metadata.get("comment", "")
    except (av.FFmpegError, OSError, SyntaxError):
        return ""  # whatever it is, it will be replaced


def _command(path: Path, size: tuple[int, int], fps: Fraction, recipe: str) -> list[str]:
    """Arguments of ffmpeg; one encoding thread and bitexact flags make the bytes repeatable."""
    height, width = size
    rate = f"{fps.numerator}/{fps.denominator}"
    pipe = ffmpeg.input(
        "pipe:0", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", framerate=rate
    )
    pipe = pipe.filter("scale", out_color_matrix=_MATRIX, out_range="tv").filter(
        "format", "yuv420p"
    )
    tags = {"colorspace": _MATRIX, "color_primaries": _MATRIX, "color_trc": _MATRIX}
    output = ffmpeg.output(
        pipe,
        f"file:{path}",  # the prefix keeps a colon in a folder's name from being a protocol
        format="mp4",
        vcodec="libx264",
        crf=CRF,
        preset=PRESET,
        threads=1,
        movflags="+faststart",
        fflags="+bitexact",
        **{"x264-params": X264_REPRODUCIBLE},
        **{"flags:v": "+bitexact", "metadata": f"comment={recipe}", "color_range": "tv", **tags},
    )
    arguments = output.global_args("-loglevel", "error", "-y")
    return [str(part) for part in ffmpeg.compile(arguments, cmd=ffmpeg_executable())]
