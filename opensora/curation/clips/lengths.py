"""The arithmetic of cutting: how long, how fast and how large a clip is. No files here.

Times are `ticks`, int64 [n + 1]: when each of n frames appears and when the last one ends, in units
of `tick_s` seconds. With evenly spaced frames a tick is a frame and the ticks are 0, 1, ..., n.
"""

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from opensora.core.errors import ConfigError, did_you_mean
from opensora.media.encode import exact_fps

MODES = ("reencode", "copy")
AUDIO = ("drop", "keep")


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
        mode: `reencode` decodes and cuts at the very frame; `copy` takes the compressed stream as
            it is, between those of its keyframes that lie in the scene; a file that is one scene
            and not too long is the clip.
        audio: `keep` gives each new file the sound of its time, where the source has any; a
            source that is its own clip has what it has.
    """

    min_s: float = 1.0
    max_s: float = 10.0
    fps: float | None = None
    short_side: int | None = None
    mode: str = "reencode"
    audio: str = "drop"

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
        if self.mode not in MODES:
            hint = did_you_mean(self.mode, MODES)
            raise ConfigError(f"--mode {self.mode!r}: expected one of {list(MODES)}{hint}")
        if self.audio not in AUDIO:
            hint = did_you_mean(self.audio, AUDIO)
            raise ConfigError(f"--audio {self.audio!r}: expected one of {list(AUDIO)}{hint}")
        if self.mode == "copy" and (self.fps is not None or self.short_side is not None):
            raise ConfigError("--mode copy keeps rate and size: leave out --fps and --short-side")

    def tick_limits(self, tick_s: Fraction) -> tuple[int, int]:
        """Fewest and most ticks of a clip.

        Where no whole number of ticks lies between the limits, as at 29.97 frames a second and
        two seconds, it is the last before them: 59 frames, of which 16 are made at 8 a second.
        """
        most = max(1, math.floor(Fraction(str(self.max_s)) / tick_s))
        return min(max(1, math.ceil(Fraction(str(self.min_s)) / tick_s)), most), most

    def most_frames(self, fps: Fraction) -> int:
        """Most frames of a clip at a rate."""
        return max(1, math.floor(Fraction(str(self.max_s)) * fps))

    def clip_fps(self, source_fps: Fraction) -> Fraction:
        """Rate of the clips of a source."""
        return source_fps if self.fps is None else min(source_fps, exact_fps(self.fps))

    def uneven_fps(self, ticks: np.ndarray, tick_s: Fraction) -> Fraction:
        """Rate of a clip of unevenly spaced frames: at most what the source shows in its time.

        Args:
            ticks: of the frames of the clip alone, with the end of the last.
            tick_s: seconds of a tick.
        """
        return self.clip_fps((len(ticks) - 1) / (int(ticks[-1] - ticks[0]) * tick_s))


def split_span(ticks: np.ndarray, first: int, last: int, most: int) -> list[tuple[int, int]]:
    """Cover frames [first, last) with spans of at most `most` ticks and a rest, none empty.

    A frame that alone stands longer is a span of its own.
    """
    spans = []
    while first < last:
        end = int(np.searchsorted(ticks, ticks[first] + most, side="right")) - 1
        end = min(max(end, first + 1), last)
        spans.append((first, end))
        first = end
    return spans


def group_stretches(ticks: np.ndarray, points: list[int], most: int) -> list[tuple[int, int]]:
    """Join neighbouring stretches between points where a stream may be cut.

    Args:
        ticks: see the module.
        points: rising frame numbers.
        most: ticks of a group; a single stretch may be longer.

    Returns:
        Spans that cover everything from the first point to the last.
    """
    spans: list[tuple[int, int]] = []
    for first, last in itertools.pairwise(points):
        if spans and ticks[last] - ticks[spans[-1][0]] <= most:
            spans[-1] = (spans[-1][0], last)
        else:
            spans.append((first, last))
    return spans


def choose_frames(
    ticks: np.ndarray, tick_s: Fraction, fps: Fraction, *, is_variable: bool = False
) -> list[int]:
    """Offsets of the source frames that a clip at `fps` shows.

    Clip frame k shows what the source shows at time k / fps after its first frame; there is one for
    every such time before the end, so that two seconds of a 29.97-fps source, which are 59 frames,
    make the 16 frames at 8 fps that one expects. A frame repeats only where it stands longer than
    1 / fps.

    Args:
        ticks: of the frames of the clip alone, with the end of the last.
        tick_s: seconds of a tick.
        fps: rate of the clip.
        is_variable: frames are unevenly spaced: then the look is half a usual step later, so that
            frames which come a little late are neither lost nor shown twice.
    """
    frame_ticks = 1 / (fps * tick_s)  # of one clip frame
    count = math.ceil(int(ticks[-1] - ticks[0]) / frame_ticks)
    late = Fraction(0)
    if is_variable:
        late = min(Fraction(int(np.median(np.diff(ticks)))), frame_ticks) / 2
    looks = (math.floor(k * frame_ticks + late) for k in range(count))
    times = [look for look in looks if look < int(ticks[-1] - ticks[0])]  # else of what follows
    return [int(k) for k in np.searchsorted(ticks - ticks[0], times, side="right") - 1]


def clip_size(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Size (H, W) of a clip: even, shrunk so that the shorter side is at most `short_side`."""
    if short_side is None or min(height, width) <= short_side:
        return max(2, height - height % 2), max(2, width - width % 2)
    scale = short_side / min(height, width)
    return max(2, 2 * round(height * scale / 2)), max(2, 2 * round(width * scale / 2))
