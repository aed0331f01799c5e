"""What a scorer is: it turns decoded frames of clips into numbers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from opensora.curation.scores.seen import Seen

Scores = dict[str, np.ndarray]


@dataclass(frozen=True)
class ClipFrames:
    """Decoded frames of one clip.

    Attributes:
        given: uint8 [T, H, W, 3] RGB; or T frames not yet converted, which scorers may share.
        indices: int [T], rising, the frames' positions in the clip.
        is_image: the clip is a still image.
        text: clean caption; "" unless the scorer needs texts.
        fps: frames a second.
        source: some frames of what the clip was cut from, each at its stored size; none unless the
            scorer needs them.
    """

    given: np.ndarray | Sequence[Seen]
    indices: np.ndarray
    is_image: bool
    text: str = ""
    fps: float = 1.0
    source: Sequence[Seen] = ()

    @cached_property
    def frames(self) -> np.ndarray:
        """Uint8 [T, H, W, 3] RGB."""
        if isinstance(self.given, np.ndarray):
            return self.given
        return np.stack([seen.rgb for seen in self.given])

    @cached_property
    def seen(self) -> list[Seen]:
        """Each frame, in luma without a way over RGB where it is stored so."""
        if isinstance(self.given, np.ndarray):
            return [Seen(frame) for frame in self.given]
        return list(self.given)

    def neighbours(self) -> list[tuple[Seen, Seen]]:
        """Pairs of frames that follow each other in the clip."""
        follows = np.flatnonzero(np.diff(self.indices) == 1)
        return [(self.seen[k], self.seen[k + 1]) for k in follows]


class Scorer(ABC):
    """Scores batches of clips; a clip's score depends on nothing but the clip.

    Attributes:
        columns: names of the scores.
        needs_text: clips without a caption can not be scored.
        needs_source: how many frames of the source it looks at.
    """

    columns: tuple[str, ...]
    needs_text: bool = False
    needs_source: int = 0

    def identity(self) -> str:
        """Hash of the weights that a score follows from; "" where there are none."""
        return ""

    @abstractmethod
    def choose(self, num_frames: int) -> list[int]:
        """Indices of the frames to decode, rising, of a clip with this many frames."""

    @abstractmethod
    def score(self, batch: Sequence[ClipFrames]) -> Scores:
        """Score clips of any sizes.

        Returns:
            One [B] array per column: float32, NaN where the clip has too little to judge; or
            text.
        """


def spread(num_frames: int, count: int) -> list[int]:
    """At most `count` frames in even distances, in the middle of equal parts of the clip."""
    count = min(count, num_frames)
    return [(2 * k + 1) * num_frames // (2 * count) for k in range(count)]


def spread_pairs(num_frames: int, count: int) -> list[int]:
    """Frames of at most `count` pairs of neighbours, evenly spread; frame 0 of a still."""
    if num_frames < 2:
        return [0]
    starts = spread(num_frames - 1, count)
    return sorted({*starts, *(start + 1 for start in starts)})
