"""What lets several workers share the tokens of one video: functions that a model is given.

Each worker keeps some of the places of every frame. Everything in a block works on single tokens,
or along time at one place, except attention within frames: around it the tokens are dealt out anew,
so that a worker has whole frames. A model knows no process group; `acceleration` has the functions.

Axes: B batch, T frames, S tokens of a frame (places), D channels; t, s those of one worker.
"""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor


class SharedTokens(Protocol):
    """Deals out the tokens of videos of one size; all results are contiguous."""

    def split(self, x: Tensor) -> Tensor:
        """The places of this worker, [B, T, s, D], of tokens [B, T, S, D] that all have."""

    def to_frames(self, x: Tensor) -> Tensor:
        """Whole frames of this worker, [B, t, S, D], for its places [B, T, s, D]."""

    def to_places(self, x: Tensor) -> Tensor:
        """Places of this worker, [B, T, s, D], for its whole frames [B, t, S, D]."""

    def join(self, x: Tensor) -> Tensor:
        """Tokens [B, T, S, D], on every worker, of everybody's places [B, T, s, D]."""


ShareTokens = Callable[[int, int], SharedTokens]
"""(T, S) -> what deals out tokens of that many frames and places."""
