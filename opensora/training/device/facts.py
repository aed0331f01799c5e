"""Numbers of a step: made on its device, and copied to the host behind it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class StepResult:
    """What one step says, equal on all workers except `predict_zero`.

    Attributes:
        step: optimizer step, from 0.
        position: of its first micro batch in the plan.
        loss: mean over the workers.
        grad_norm: before clipping.
        lr: of the first parameter group.
        samples: clips seen by all workers.
        stop: a worker was asked to stop.
        end: the run was asked to be done here.
        predict_zero: loss of a model that always predicts zero, in the first steps.
    """

    step: int
    position: int
    loss: float
    grad_norm: float
    lr: float
    samples: int
    stop: bool
    end: bool
    predict_zero: float | None


@dataclass(frozen=True)
class Part:
    """What is kept of a micro batch once its gradients are there.

    Attributes:
        ids: of its clips.
        loss: its share of the step's, on the device.
        weight: of its mean loss in the step's mean over all groups; 1 without `accumulate`.
        predict_zero: loss of a model that always predicts zero, on the device, in the first steps.
    """

    ids: list[str]
    loss: Tensor
    weight: float
    predict_zero: Tensor | None

    @staticmethod
    def mean_of_zero(parts: Sequence["Part"]) -> Tensor | None:
        """Loss of predicting zero in this worker's part of a step; None after the first steps."""
        known = [(p.predict_zero, p.weight) for p in parts if p.predict_zero is not None]
        if not known:
            return None
        total = torch.stack([loss.double() * weight for loss, weight in known]).sum()
        return total / sum(weight for _, weight in known)


class Facts:
    """Numbers of a step, together on its device and copied to the host behind it.

    Args:
        parts: what this worker has seen.
        stop: it was asked to stop.
        end: it was asked to be done here.

    Attributes:
        shared: float64 [4] on the device, to be summed over the workers: loss, clips and how many
            were asked for a stop, for an end.
    """

    def __init__(self, parts: Sequence[Part], *, stop: bool, end: bool) -> None:
        mine = torch.stack([part.loss for part in parts]).sum()
        self._numbers = torch.zeros(6, dtype=torch.float64, device=mine.device)
        self.shared = self._numbers[:4]
        self.shared[0] = mine
        for place, value in enumerate((sum(len(part.ids) for part in parts), stop, end), start=1):
            self.shared[place].fill_(value)  # an assignment would copy it from the host
        zero = Part.mean_of_zero(parts)
        self._has_zero = zero is not None
        if zero is not None:
            self._numbers[5] = zero
        self._done: torch.cuda.Event | None = None

    def send(self, grad_norm: Tensor) -> None:
        """Begin the copy to the host; nothing is added afterwards."""
        self._numbers[4] = grad_norm
        if self._numbers.is_cuda:
            self._numbers = self._numbers.to("cpu", non_blocking=True)
            self._done = torch.cuda.Event()
            self._done.record()

    def read(self) -> tuple[list[float], float | None]:
        """The shared numbers and the norm of the gradient; loss of predicting zero."""
        if self._done is not None:
            self._done.synchronize()
        *known, zero = self._numbers.tolist()
        return known, zero if self._has_zero else None
