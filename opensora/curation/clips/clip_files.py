"""Clip files: an MP4 that ffmpeg encodes from frames or copies from a video, or a PNG.

Each file carries its `recipe` in its metadata: a hash of everything that decides its content, which
is also its name in the store (`clip_store`). So a foreign file under that name is seen.
"""

import errno
import hashlib
import mmap
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import ffmpeg
import numpy as np
from PIL import Image, PngImagePlugin

from opensora.core.errors import OpenSoraError, VideoError
from opensora.core.io import atomic_path, scratch_folder
from opensora.curation.clips.sound import BIT_RATE, CHANNELS, CODEC, RATE
from opensora.media.container import READER_OPTIONS
from opensora.media.encode import X264_REPRODUCIBLE, ffmpeg_executable
from opensora.media.probe import VideoInfo, probe
from opensora.media.timeline import Timeline, timeline

CRF = 18  # constant rate factor of H.264; 18 is visually lossless
PRESET = "fast"
_MATRIX = "bt709"
_PNG_KEY = "recipe"
_PNG_END = b"IEND\xaeB`\x82"
_BOX_BYTES = 8  # of the head of a box of MP4: its length and its kind
_TRANSPARENT = "yuva"  # as FFmpeg calls forms of a pixel; MP4 keeps none
_SOUND_OUTPUT = {"acodec": CODEC, "b:a": BIT_RATE, "flags:a": "+bitexact"}
_FULL = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]


def write_clip(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    num_frames: int,
    size: tuple[int, int],
    fps: Fraction,
    recipe: str,
    name: str,
    sound: Path | None = None,
) -> None:
    """Encode frames to H.264 4:2:0 BT.709; equal frames give equal bytes.

    Args:
        path: the `.mp4` file; it appears whole or not at all.
        frames: uint8 [H, W, 3] RGB of the given size, one at a time.
        num_frames: how many frames must come.
        size: (height, width), both even.
        fps: frames a second.
        recipe: see the module.
        name: of the clip, for people.
        sound: of the frames' time, as `Sounds` writes it; None is none.

    Raises:
        VideoError: fewer frames came than announced, reading them failed, or ffmpeg did.
        OpenSoraError: the disk is full.
    """
    with atomic_path(path) as temporary, tempfile.TemporaryFile() as errors:
        command = _command(temporary, size, fps, recipe, sound)
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors)
        assert process.stdin is not None  # a pipe was asked for
        count = 0
        try:
            for frame in frames:
                process.stdin.write(np.ascontiguousarray(frame).data)  # without a copy
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
            raise _failure("encode_failed", path, name, errors.read())
        if count != num_frames:
            raise VideoError("corrupt", f"{name}: {count} of {num_frames} frames were readable")


def copy_stretches(
    info: VideoInfo,
    spans: Mapping[str, tuple[int, int]],
    folder: Path,
    sound: Callable[[str], Path | None] = lambda recipe: None,
) -> dict[str, VideoError]:
    """Copy stretches of a video's compressed stream into files, in one pass over the video.

    A stretch has the same bytes whichever others are copied with it.

    Args:
        info: the video; rotation and colour notes are kept.
        spans: recipe -> frames [first, last), both of which are `Timeline.cut_frames` or ends of
            the video.
        folder: of the files `{recipe}.mp4`.
        sound: recipe -> sound of the stretch, as `Sounds` writes it; asked in order of `spans`.

    Returns:
        What went wrong, by recipe; the other files are there, each whole.

    Raises:
        VideoError: there is sound that can not be read.
        OpenSoraError: the disk is full.
    """
    edges = sorted({0, *(frame for span in spans.values() for frame in span)} - {info.num_frames})
    # ffmpeg writes the same words into all parts; each recipe then takes their place
    blank = hashlib.sha256("".join(spans).encode()).hexdigest()[: len(next(iter(spans)))]
    faults: dict[str, VideoError] = {}
    with scratch_folder(folder / "parts") as parts:
        command = _copy_command(info.path, edges[1:] or [info.num_frames], blank)
        done = subprocess.run(command, cwd=parts, capture_output=True, check=False)
        fault = _failure("copy_failed", folder, info.path.name, done.stderr)
        if not isinstance(fault, VideoError):
            raise fault  # ffmpeg ends well even where the end of a file could not be written
        if done.returncode != 0:
            return dict.fromkeys(spans, fault)
        for recipe, (first, last) in spans.items():
            made, heard = parts / f"{edges.index(first):06d}.mp4", sound(recipe)
            try:
                count = probe(made).num_frames
                if count != last - first:
                    sentence = f"{count} instead of {last - first} frames came of copying"
                    raise VideoError("copy_failed", sentence)
                _check_shape(made, info)
                _exchange(made, blank, recipe)
                if heard:
                    made = _with_sound(made, heard, recipe)
                    _check_shape(made, info)
                made.replace(folder / f"{recipe}.mp4")
            except VideoError as error:
                faults[recipe] = VideoError("copy_failed", error.detail)
    return faults


def _with_sound(silent: Path, sound: Path, recipe: str) -> Path:
    """A file beside a silent one, with sound.

    Raises:
        VideoError: ffmpeg refuses it.
        OpenSoraError: the disk is full.
    """
    made = silent.with_name(f"{silent.stem}.sound.mp4")
    output = ffmpeg.output(
        ffmpeg.input(f"file:{silent.resolve()}")["v:0"],
        _sound_input(sound),
        f"file:{made.resolve()}",
        vcodec="copy",
        movflags="+faststart",
        fflags="+bitexact",
        metadata=f"comment={recipe}",
        **_SOUND_OUTPUT,
    )
    arguments = output.global_args("-loglevel", "error", "-xerror", "-y", "-nostdin")
    command = [str(part) for part in ffmpeg.compile(arguments, cmd=ffmpeg_executable())]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        raise _failure("copy_failed", silent, silent.name, done.stderr)
    return made


def _sound_input(path: Path) -> Any:
    """The samples that `Sounds` writes, as an input of ffmpeg."""
    source = ffmpeg.input(f"file:{path.resolve()}", format="f32le", ar=RATE, ac=CHANNELS)
    return source["a:0"]


def _exchange(path: Path, blank: str, recipe: str) -> None:
    """Put a recipe where a text of its length stands in a file's metadata.

    Raises:
        VideoError: it does not stand there.
    """
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        place = content.find(blank.encode())  # metadata comes first, see +faststart
        if place < 0:
            raise VideoError("copy_failed", "ffmpeg left the recipe out")
        content[place : place + len(blank)] = recipe.encode()


def _check_shape(made: Path, info: VideoInfo) -> None:
    """Refuse a copy that is shown otherwise than its source.

    Raises:
        VideoError: margins, the shape of the pixels, the orientation or transparency were lost.
    """
    old, new = timeline(info.path), timeline(made)
    if _shape(old) != _shape(new):
        raise VideoError(
            "copy_failed",
            "the copy lost how the source is shown (margins, shape of pixels, orientation or"
            " transparency); use --mode reencode",
        )


def _shape(line: Timeline) -> tuple[object, ...]:
    return line.geometry, line.orientation, line.pixel_format.startswith(_TRANSPARENT)


def write_still(path: Path, pixels: np.ndarray, *, recipe: str) -> None:
    """Write a uint8 [H, W, 3] RGB image as PNG with its recipe."""
    notes = PngImagePlugin.PngInfo()
    notes.add_text(_PNG_KEY, recipe)
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", pnginfo=notes)


def is_finished(path: Path, recipe: str) -> bool:
    """Whether a clip file is there to its last byte and was made by this recipe."""
    try:
        if path.suffix == ".png":
            with Image.open(path) as image:
                found = image.info.get(_PNG_KEY)
                image.verify()  # sums of all its chunks
            return bool(found == recipe) and path.read_bytes().endswith(_PNG_END)
        if not _is_whole_mp4(path):
            return False
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            return bool(container.metadata.get("comment") == recipe)
    except (av.FFmpegError, OSError, SyntaxError, ValueError):
        return False  # whatever it is, it will be replaced


def _is_whole_mp4(path: Path) -> bool:
    """Whether the boxes of an MP4 file, which say how long they are, end where the file ends."""
    size, place = path.stat().st_size, 0
    with path.open("rb") as file:
        while place < size:
            file.seek(place)
            head = file.read(_BOX_BYTES + 8)
            length = int.from_bytes(head[:4], "big")
            if length == 1:  # then a longer number follows
                length = int.from_bytes(head[_BOX_BYTES:], "big")
            if length < _BOX_BYTES:
                return False
            place += length
    return place == size > 0


def _command(
    path: Path, size: tuple[int, int], fps: Fraction, recipe: str, sound: Path | None
) -> list[str]:
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
    inputs = [pipe] if sound is None else [pipe, _sound_input(sound)]
    output = ffmpeg.output(
        *inputs,
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
        **({} if sound is None else _SOUND_OUTPUT),
    )
    # without -xerror a file whose end could not be written counts as done
    arguments = output.global_args("-loglevel", "error", "-xerror", "-y")
    return [str(part) for part in ffmpeg.compile(arguments, cmd=ffmpeg_executable())]


def _copy_command(path: Path, edges: list[int], recipe: str) -> list[str]:
    """Arguments of ffmpeg to part a video before these frames into 000000.mp4, 000001.mp4 ..."""
    line = timeline(path)
    source = ffmpeg.input(f"file:{path.resolve()}", format=line.container, **READER_OPTIONS)
    output = ffmpeg.output(
        source[str(line.track)],
        "%06d.mp4",
        format="segment",
        segment_format="mp4",
        segment_frames=",".join(map(str, edges)),
        segment_format_options="movflags=+faststart",
        reset_timestamps=1,
        vcodec="copy",
        fflags="+bitexact",
        metadata=f"comment={recipe}",
        map_metadata=-1,
    )
    arguments = output.global_args("-loglevel", "error", "-y", "-nostdin")
    return [str(part) for part in ffmpeg.compile(arguments, cmd=ffmpeg_executable())]


def _failure(reason: str, path: Path, name: str, words: bytes) -> OpenSoraError:
    """What ffmpeg's failure means: a full disk concerns all, anything else this file."""
    lines = words.decode(errors="replace").strip().splitlines()
    if full := next((line for line in lines if any(word in line for word in _FULL)), None):
        return OpenSoraError(
            f"{path}: could not be written ({full.strip()}); free the disk or choose another"
            " place, then run the same command again"
        )
    return VideoError(reason, f"{name}: ffmpeg failed ({lines[-1] if lines else 'silently'})")
