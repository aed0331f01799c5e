"""From the stored picture to the shown one: margins, shape of the pixels, turns, mirrors."""

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

from opensora.media.crop import Margins

# pixels longer than this are taken for a mistake of the header, which could ask for all memory
LONGEST_PIXEL = 4


@dataclass(frozen=True)
class Orientation:
    """What brings a stored picture upright.

    Attributes:
        turns: quarter turns counter-clockwise, 0 to 3,
        mirrored: and then left and right change places.
    """

    turns: int = 0
    mirrored: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> "Orientation":
        """Read the display matrix that belongs to a frame."""
        note: Any = frame.side_data.get("DISPLAYMATRIX")
        if note is None:
            return _UPRIGHT
        data = bytes(note)[:36]
        return cls.of_matrix(*struct.unpack("=9i", data)[:5]) if len(data) == 36 else _UPRIGHT

    @classmethod
    def of_matrix(cls, a: int, b: int, _u: int, c: int, d: int) -> "Orientation":
        """Of (x, y) is shown at (a x + c y, b x + d y), rows counted downwards."""
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return _UPRIGHT if a >= 0 <= d else cls(2 if d < 0 else 0, (a < 0) != (d < 0))
        # rows and columns change places; a quarter turn also reverses one of them
        return cls(1 if b < 0 else 3, (b < 0) == (c < 0))

    @property
    def swaps(self) -> bool:
        """Whether rows become columns."""
        return self.turns % 2 == 1

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Turn and mirror [H, W, 3]."""
        if self == _UPRIGHT:
            return pixels
        shown = np.rot90(pixels, self.turns)
        return np.ascontiguousarray(shown[:, ::-1] if self.mirrored else shown)


_UPRIGHT = Orientation()
_WHOLE = Margins()
_SQUARE = Fraction(1)


@dataclass(frozen=True)
class Geometry:
    """How the pictures of a track are shown.

    Attributes:
        margins: cut off first, in stored pixels.
        pixel: width over height of a stored pixel.
    """

    margins: Margins = _WHOLE
    pixel: Fraction = _SQUARE

    def shown(self, height: int, width: int, orientation: Orientation) -> tuple[int, int]:
        """(height, width) at which a stored picture of this size is shown."""
        height -= self.margins.top + self.margins.bottom
        width = round((width - self.margins.left - self.margins.right) * self.pixel)
        return (width, height) if orientation.swaps else (height, width)

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """Cut the margins off [H, W, 3]."""
        if self.margins == _WHOLE:
            return pixels
        height, width = pixels.shape[:2]
        top, bottom, left, right = self.margins
        return np.ascontiguousarray(pixels[top : height - bottom, left : width - right])


def square_or_not(ratio: Fraction | None) -> Fraction:
    """A pixel's shape as the header has it; square where it has none, or one that can not be."""
    if not ratio or not Fraction(1, LONGEST_PIXEL) <= ratio <= LONGEST_PIXEL:
        return _SQUARE
    return Fraction(ratio)
