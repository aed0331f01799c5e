"""The arithmetic of cutting: how long, how fast and how large a clip is. No files here."""

import math
from dataclasses import dataclass
from fractions import Fraction

from opensora.core.errors import ConfigError
from opensora.media.encode import exact_fps


@dataclass(frozen=True)
class ClipSettings:
    """How scenes become clips.

    Attributes:
        min_s: a piece shorter than this is marked `too_short`.
        max_s: a longer scene becomes several clips of this length and a rest.
        fps: target rate; None keeps the source's. A slower source keeps its own rate, since
            repeated frames would look like frozen footage.
        short_side: target of the shorter side in pixels; None keeps the source's. A smaller
            source keeps its own size.
    """

    min_s: float = 1.0
    max_s: float = 10.0
    fps: float | None = None
    short_side: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no clip could satisfy."""
        if not 0 < self.min_s <= self.max_s:
            raise ConfigError(
                f"--min-s {self.min_s:g} and --max-s {self.max_s:g}: expected 0 < min <= max"
            )
        if self.fps is not None and not self.fps > 0:
            raise ConfigError(f"--fps {self.fps:g}: expected more than 0")
        if self.short_side is not None and self.short_side < 2:
            raise ConfigError(f"--short-side {self.short_side}: expected at least 2 pixels")

    def frame_limits(self, source_fps: Fraction) -> tuple[int, int]:
        """Fewest and most source frames of a clip."""
        fewest = max(1, math.ceil(Fraction(str(self.min_s)) * source_fps))
        return fewest, max(fewest, math.floor(Fraction(str(self.max_s)) * source_fps))

    def clip_fps(self, source_fps: Fraction) -> Fraction:
        """Rate of the clips of a source."""
        return source_fps if self.fps is None else min(source_fps, exact_fps(self.fps))


def split_span(first: int, last: int, max_frames: int) -> list[tuple[int, int]]:
    """Cover frames [first, last) with spans of `max_frames` and a rest, none empty."""
    starts = range(first, last, max_frames)
    return [(start, min(start + max_frames, last)) for start in starts]


def choose_frames(num_source: int, source_fps: Fraction, fps: Fraction) -> list[int]:
    """Offsets of the source frames that a clip at `fps` <= `source_fps` shows.

    Clip frame k shows what the source shows at time k / fps, offset floor(k * source_fps / fps);
    there is one for every such time before the end, so that two seconds of a 29.97-fps source,
    which are 59 frames, make the 16 frames at 8 fps that one expects.
    """
    count = math.ceil(num_source * fps / source_fps)
    return [math.floor(k * source_fps / fps) for k in range(count)]


def clip_size(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Size (H, W) of a clip: even, shrunk so that the shorter side is at most `short_side`."""
    if short_side is None or min(height, width) <= short_side:
        return max(2, height - height % 2), max(2, width - width % 2)
    scale = short_side / min(height, width)
    return max(2, 2 * round(height * scale / 2)), max(2, 2 * round(width * scale / 2))
