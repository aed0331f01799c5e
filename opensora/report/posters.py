"""Small pictures that stand for videos until somebody plays them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import Image

from opensora.core.errors import VideoError
from opensora.core.guard import Guard
from opensora.core.io import atomic_path, sha256_once
from opensora.media.decode import read_frames

LONGER_SIDE = 256  # pixels; a card is about as wide
_QUALITY = 82
_VERSION = 1  # raise it when posters of equal files change


def make_poster(file: Path, num_frames: int, folder: Path, guard: Guard) -> str | VideoError:
    """Write the middle frame of a sample as a small JPEG, unless it is there.

    Args:
        file: video or picture.
        num_frames: how many frames it has.
        folder: where posters go.
        guard: counts what nobody expected.

    Returns:
        The poster's file name, which follows from the sample's content; or why there is none.
    """
    found: object = guard.call(_poster, file, num_frames, folder)
    return found if isinstance(found, VideoError) else str(found)


def _poster(file: Path, num_frames: int, folder: Path) -> str:
    made_of = f"{_VERSION} {LONGER_SIDE} {_QUALITY} {num_frames} {sha256_once(file)}"
    target = folder / f"{hashlib.sha256(made_of.encode()).hexdigest()[:24]}.jpg"
    if not target.is_file():
        frame = read_frames(file, [max(num_frames - 1, 0) // 2])[0]
        with atomic_path(target) as temporary:
            write_jpeg(Image.fromarray(frame), temporary)
    return target.name


def write_jpeg(image: Image.Image, path: Path) -> None:
    """Write a picture as a JPEG whose longer side is at most `LONGER_SIDE` pixels."""
    image.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.BOX)
    image.save(path, "JPEG", quality=_QUALITY, optimize=True)
