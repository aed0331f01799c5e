"""The frames of a clip that a captioning model sees."""

import base64
import io
from pathlib import Path

from PIL import Image

from opensora.media.decode import read_frames
from opensora.media.probe import probe

_QUALITY = 90  # of JPEG: a 512 x 288 frame takes some 30 kB


def spread_frames(path: Path, most: int) -> list[Image.Image]:
    """Frames from the middles of equal parts of a clip, at most as many as it has.

    Args:
        path: a clip or an image.
        most: frames.

    Raises:
        VideoError: it can not be read.
    """
    length = probe(path).num_frames
    count = min(most, length)
    indices = [(2 * k + 1) * length // (2 * count) for k in range(count)]
    return [Image.fromarray(frame) for frame in read_frames(path, indices)]


def data_url(image: Image.Image, max_side: int) -> str:
    """A picture as the text of a JPEG, its longer side at most `max_side` pixels."""
    small = image.copy()
    small.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
