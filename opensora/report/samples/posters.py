"""Small pictures that stand for videos until somebody plays them."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from opensora.media.decode import read_frames

LONGER_SIDE = 256  # pixels; a card is about as wide
_QUALITY = 82


def poster(file: Path, num_frames: int) -> bytes:
    """The middle frame of a video, or a picture, as a JPEG of at most `LONGER_SIDE` pixels.

    Args:
        file: video or picture.
        num_frames: how many frames it has.

    Raises:
        VideoError: it can not be read.
    """
    image = Image.fromarray(read_frames(file, [max(num_frames - 1, 0) // 2])[0])
    image.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.BOX)
    made = io.BytesIO()
    image.save(made, "JPEG", quality=_QUALITY, optimize=True)
    return made.getvalue()
