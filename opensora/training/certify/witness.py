"""Looks on while a run trains: which micro batches it takes, and where it is to be disturbed."""

import os
import signal
from typing import Any, cast

from torch import Tensor

from opensora.training.data import BatchSource
from opensora.training.start import TrainingRun


class Witness:
    """Notes every micro batch of this worker; may disturb the run when one is taken.

    Attributes:
        run: that is looked at, once it is there.
        positions: in the plan, in the order in which they were trained.

    Args:
        at: micro batches taken before the disturbance.
        number: the signal that then comes to this process; None for none.
    """

    def __init__(self, at: int = 0, number: signal.Signals | None = None) -> None:
        self.run: TrainingRun | None = None
        self.positions: list[int] = []
        self._at, self._number = at, number

    def look(self, run: TrainingRun) -> None:
        """Begin, after a run is prepared and before its first step."""
        self.run = run
        run.source = cast(BatchSource, _Watched(run.source, self))

    def note(self, position: int) -> None:
        """Take in that a micro batch is taken."""
        if self._number is not None and len(self.positions) == self._at:
            os.kill(os.getpid(), self._number)
        self.positions.append(position)


class _Watched:
    """A source of micro batches that tells a witness which are taken."""

    def __init__(self, source: BatchSource, witness: Witness) -> None:
        self._source, self._witness = source, witness

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def encode(self, position: int, batch: Any) -> Any:
        """See `BatchSource`."""
        self._witness.note(position)
        return self._source.encode(position, batch)


def count_as_dealt(run: TrainingRun, blocks: list[range], groups: list[int]) -> None:
    """Let each micro batch of an accumulated step weigh what it does where each worker has one.

    An accumulated loss is the mean over all clips, that of several workers the mean of their means.

    Args:
        run: prepared; each of its workers trains several micro batches a step.
        blocks: entries of the plan, step by step.
        groups: that each of these steps is dealt to.
    """
    engine, offsets = run.engine, run.source.plan.entries.offsets
    ours, number = run.workers.group, run.workers.num_groups
    factors = []
    for block, dealt in zip(blocks, groups, strict=True):
        clips = int(offsets[block.stop] - offsets[block.start])
        mine = block[ours::number]
        own = [int(offsets[k + 1] - offsets[k]) for k in mine]
        factors += [1.0 if len(mine) == 1 else clips / (dealt * count) for count in own]
    backward, rest = engine.backward, iter(factors)

    def weighted(loss: Tensor) -> None:
        backward(loss * next(rest))

    engine.backward = weighted  # type: ignore[method-assign]
