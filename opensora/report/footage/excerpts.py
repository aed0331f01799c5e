"""A look at what a stage rejected: a small picture, and a few seconds that play.

Whatever is shown is decoded and encoded anew, so that no file of a strange table gets into a
report as it is.
"""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from opensora.core.errors import OpenSoraError
from opensora.media.decode import read_frames
from opensora.media.encode import write_video
from opensora.report.media import Media

_SIDE = 192  # pixels of the longer side
_FPS = 8
_SECONDS = 2.0


@dataclass(frozen=True)
class Span:
    """Part of a file; what its stage knows of the file, so that nobody has to read all of it.

    Attributes:
        file: video or picture.
        start: seconds.
        end: seconds.
        fps: frames a second of the file.
        num_frames: of the file; 0 where its stage could not read it.
        height: pixels as displayed.
        width: pixels as displayed.
    """

    file: Path
    start: float
    end: float
    fps: float
    num_frames: int
    height: int
    width: int


def excerpt(span: Span, media: Media) -> dict[str, str]:
    """Addresses of a poster and a player of a part of a file; at most two seconds are taken.

    Args:
        span: what to look at.
        media: where both are put.

    Returns:
        `poster` and `video`, the latter only of what moves; `absent` says why there is none.
    """
    if not span.file.is_file():
        return {"absent": "file not found"}
    if span.num_frames < 1:
        return {"absent": "not readable"}
    scale = min(1.0, _SIDE / max(span.height, span.width, 1))
    size = (max(2, round(span.height * scale)), max(2, round(span.width * scale)))
    try:
        frames = read_frames(span.file, _indices(span), size=size)
    except (OpenSoraError, OSError, ValueError):  # it was read once: it changed since
        return {"absent": "not readable"}
    poster = io.BytesIO()
    Image.fromarray(frames[0]).save(poster, "JPEG", quality=80)
    shown = {"poster": media.put(poster.getvalue(), ".jpg")}
    if len(frames) > 1:
        with tempfile.TemporaryDirectory() as folder:
            write_video(Path(folder) / "excerpt.mp4", frames, _FPS, crf=26)
            content = (Path(folder) / "excerpt.mp4").read_bytes()
        shown["video"] = media.put(content, ".mp4")
    return shown


def _indices(span: Span) -> list[int]:
    """Frames of the span, eight a second."""
    count = max(1, round(min(span.end - span.start, _SECONDS) * _FPS))
    wanted = [round((span.start + k / _FPS) * span.fps) for k in range(count)]
    return sorted({min(max(index, 0), span.num_frames - 1) for index in wanted})
