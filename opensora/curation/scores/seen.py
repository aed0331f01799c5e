"""Frames as scorers see them: converted when one looks, and once for all of them.

Most scores need no colour. A film is stored as luma and colour apart, so its luma is there without
a conversion, and at the size at which scores compare it is made once.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from av.video.frame import VideoFrame

from opensora.core import limits
from opensora.media.colour import luma_of, matrix_of
from opensora.media.decode import Picture, iter_made, picture_of, too_many
from opensora.media.geometry import Geometry, Orientation

GREY_SIDE_PX = 256  # short side at most, so that scores compare across sizes


class _Stored(Protocol):
    """What a `Seen` is made of: pixels [H, W, 3] and luma [H, W] as stored; `shown` (H, W)."""

    shown: tuple[int, int]

    @property
    def pixels(self) -> np.ndarray: ...
    @property
    def luma(self) -> np.ndarray: ...


class Seen:
    """One frame.

    Args:
        stored: it, not yet converted; or RGB uint8 [H, W, 3].
        shown: (height, width) at which it is seen; None takes its own.
    """

    def __init__(
        self, stored: "_Stored | np.ndarray", shown: tuple[int, int] | None = None
    ) -> None:
        self._stored = _OfPixels(stored) if isinstance(stored, np.ndarray) else stored
        self._shown = shown or self._stored.shown

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of `rgb`."""
        return self._shown

    @property
    def stored_luma(self) -> np.ndarray:
        """Luma uint8 [H, W] of the frame as it is stored, black 0 and white 255."""
        return self._stored.luma

    @cached_property
    def rgb(self) -> np.ndarray:
        """Uint8 [H, W, 3] as shown."""
        return _scaled(self._stored.pixels, self._shown)

    @cached_property
    def grey(self) -> np.ndarray:
        """Luma uint8 [h, w] as shown, with a short side of at most `GREY_SIDE_PX`."""
        height, width = self._shown
        scale = min(1.0, GREY_SIDE_PX / min(height, width))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        return _scaled(self._stored.luma, size)


class _OfPixels:
    """A frame that is there in RGB."""

    def __init__(self, pixels: np.ndarray, shown: tuple[int, int] | None = None) -> None:
        self.pixels = pixels
        self.shown = shown or (pixels.shape[0], pixels.shape[1])

    @cached_property
    def luma(self) -> np.ndarray:
        return cv2.cvtColor(self.pixels, cv2.COLOR_RGB2GRAY)


class _OfVideo:
    """A decoded frame of a video.

    Raises:
        VideoError: its colours can not be converted.
    """

    def __init__(self, frame: VideoFrame, geometry: Geometry) -> None:
        matrix_of(frame)  # a fault of the file is told while it is read
        self._frame, self._geometry = frame, geometry
        self._orientation = Orientation.of(frame)
        self.shown = geometry.shown(frame.height, frame.width, self._orientation)

    @cached_property
    def pixels(self) -> np.ndarray:
        return picture_of(self._frame, self._geometry).pixels

    @cached_property
    def luma(self) -> np.ndarray:
        luma = luma_of(self._frame)
        if luma is None:
            return cv2.cvtColor(self.pixels, cv2.COLOR_RGB2GRAY)
        return self._orientation.apply(self._geometry.cut(luma))


def read_seen(
    path: str | Path,
    indices: Sequence[int],
    *,
    as_stored: bool = False,
    source: Path | None = None,
) -> list[Seen]:
    """Read frames of a file, none of them converted yet.

    Args:
        path: a video or an image; an image has frame 0 only.
        indices: frame indices, at least one.
        as_stored: each keeps its own size; else all have that at which the first is shown.
        source: what a video was cut from, if it was.

    Raises:
        ValueError: no index is given, or one lies outside the file.
        VideoError: the file can not be read, or the frames do not fit into memory.
    """
    found: dict[int, _Stored] = {}
    num_bytes = 0
    for index, made in iter_made(Path(path), indices, _OfVideo, source):
        stored = _OfPixels(made.pixels, made.shown) if isinstance(made, Picture) else made
        num_bytes += 3 * stored.shown[0] * stored.shown[1] if index not in found else 0
        if num_bytes > limits.DECODED_BYTES:
            raise too_many(path, indices)
        found[index] = stored
    shown = None if as_stored else found[int(indices[0])].shown
    return [Seen(found[int(index)], shown) for index in indices]


def _scaled(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels [H, W] or [H, W, 3] at a size, by area averaging."""
    return Picture(pixels, size).resized(None)
