"""Frame counts and sizes that another trainer can take, chosen for the clips at hand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from opensora.core import limits
from opensora.core.errors import ConfigError

_SHARES = (0.0, 0.5, 1.0)  # of the clips by length: the counts that the trainer gets
_LEAST_STEPS = 1  # a video of one latent frame is an image


@dataclass(frozen=True)
class Shapes:
    """What a trainer's autoencoder takes.

    Attributes:
        frame_step: a count of frames is a multiple of it, plus 1.
        size_step: height and width are multiples of it, in pixels.
    """

    frame_step: int
    size_step: int

    def longest(self, num_frames: int) -> int:
        """The largest count that a clip of so many frames fills; below 1 + frame_step it is 1."""
        return max(num_frames - 1, 0) // self.frame_step * self.frame_step + 1

    def check(self, counts: Sequence[int]) -> None:
        """Refuse counts that the trainer would cut.

        Raises:
            ConfigError: names the first one and those beside it that are taken.
        """
        for count in counts:
            if count < 1 or self.longest(count) != count:
                below = self.longest(count)
                raise ConfigError(
                    f"--frames {count}: this trainer takes counts of {self.frame_step}n + 1 frames;"
                    f" nearest are {below} and {below + self.frame_step}"
                )

    def check_size(self, size: tuple[int, int]) -> None:
        """Refuse a height or width that the trainer would change.

        Raises:
            ConfigError: names the first one and those beside it that are taken.
        """
        if size[0] * size[1] > limits.VIDEO_PIXELS:
            raise ConfigError(
                f"--size {size[0]} {size[1]}: more than the {limits.VIDEO_PIXELS:,} pixels that a"
                " clip has at most"
            )
        for side in size:
            below = side // self.size_step * self.size_step
            if side != below or side < 1:
                near = [near for near in (below, below + self.size_step) if near]
                raise ConfigError(
                    f"--size {size[0]} {size[1]}: this trainer takes multiples of {self.size_step}"
                    f" pixels; {side} lies beside {' and '.join(map(str, near))}"
                )


def frames_at(rows: pd.DataFrame, fps: float | None) -> pd.Series:
    """Frames of each clip at the rate that a trainer samples; None is the clip's own."""
    if fps is None:
        return rows["num_frames"].astype("int64")
    seconds = rows["num_frames"] / rows["fps"]
    frames = np.floor(seconds * fps + 1e-6)  # 48 / 24 * 16 is 32, not 31.999...
    return frames.where(rows["num_frames"] > 1, 1).fillna(1).astype("int64")


def choose_counts(frames: pd.Series, shapes: Shapes) -> list[int]:
    """At most three counts: those that the shortest, the middle and the longest video fill."""
    usable = frames.map(shapes.longest)
    usable = usable[usable > _LEAST_STEPS].sort_values(ignore_index=True)
    if usable.empty:
        return []
    places = [round(share * (len(usable) - 1)) for share in _SHARES]
    return sorted({int(usable.iloc[place]) for place in places})


def assign_counts(frames: pd.Series, counts: Sequence[int]) -> pd.Series:
    """The longest count that each clip fills, 1 of an image; 0 where it fills none."""
    ladder = np.array([0, *sorted(counts)])
    found = ladder[np.searchsorted(ladder, frames, side="right") - 1]
    return pd.Series(np.where(frames == 1, 1, found), frames.index)


def choose_size(rows: pd.DataFrame, shapes: Shapes) -> tuple[int, int]:
    """Height and width in the middle of the clips', at multiples that the trainer takes."""
    step = shapes.size_step
    height, width = (int(rows[side].median()) // step * step for side in ("height", "width"))
    return max(height, step), max(width, step)
