"""What a step says: left on its device by `train_step`, read once the device has come that far.

A GPU works through a queue. Whoever asks for a number waits until all before it is done, and the
queue is empty when the next step begins. So the numbers of a step are read while the next one
runs, and at once where somebody writes them down. A CPU has computed them by the time it is asked.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from opensora.core.errors import OpenSoraError
from opensora.training.start import TrainingRun


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


@dataclass(frozen=True)
class Flight:
    """A step that its device works at.

    Attributes:
        step: optimizer step, from 0.
        position: of its first micro batch in the plan.
        lr: of the first parameter group.
        parts: what this worker has seen.
        facts: numbers of the step.
        overflowed: left out because a gradient did not fit into fp16.
    """

    step: int
    position: int
    lr: float
    parts: Sequence[Part]
    facts: Facts
    overflowed: bool

    def read(self, run: TrainingRun) -> StepResult:
        """Wait for the numbers of the step; all workers read the same step together.

        Raises:
            OpenSoraError: loss or gradient is not a finite number; the step was left out.
        """
        (loss, samples, stops, ends, grad_norm), zero = self.facts.read()
        if not math.isfinite(loss):
            broken = [name for p in self.parts if not p.loss.isfinite() for name in p.ids]
            raise self._not_finite(run, broken, "loss")
        if not math.isfinite(grad_norm) and not self.overflowed:
            raise self._not_finite(run, [n for part in self.parts for n in part.ids], "gradient")
        return StepResult(
            step=self.step,
            position=self.position,
            loss=loss / run.workers.world_size,
            grad_norm=grad_norm,
            lr=self.lr,
            samples=int(samples) // run.workers.sp_size,
            stop=stops > 0,
            end=ends > 0,
            predict_zero=zero,
        )

    def _not_finite(self, run: TrainingRun, ids: list[str], what: str) -> OpenSoraError:
        """The error that names the clips which broke the run, on whatever worker they were."""
        parts = run.workers.gather(ids)
        broken = dict.fromkeys(name for part in parts for name in part)  # a group has the same
        return OpenSoraError(
            f"train: the {what} of step {self.step + 1} is not a finite number, clips"
            f" {', '.join(broken)}; the newest checkpoint in"
            f" {run.config.state_folder} is from before: lower lr or look at these clips' latents,"
            " and run the command again"
        )


class Flights:
    """The steps whose numbers are not read yet: none on a CPU, the newest on a GPU.

    Args:
        run: that the steps are of.
    """

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        self._behind = steps_behind(run.workers.device)
        self._waiting: deque[Flight] = deque()

    def land(self, flight: Flight, *, all_of_them: bool) -> list[StepResult]:
        """Take in a step; returns those that can be read by now, oldest first.

        Args:
            flight: the newest step.
            all_of_them: wait for it too. Without it, one that says stop or end is waited for with
                all behind it, so that no step is left when the loop ends.

        Raises:
            OpenSoraError: loss or gradient of a step is not a finite number.
        """
        self._waiting.append(flight)
        results: list[StepResult] = []
        keep = 0 if all_of_them else self._behind
        while len(self._waiting) > keep:
            results.append(self._waiting.popleft().read(self._run))
            if results[-1].stop or results[-1].end:
                keep = 0
        return results


def steps_behind(device: torch.device) -> int:
    """How many steps after its own the numbers of a step are read."""
    return 1 if device.type == "cuda" else 0
