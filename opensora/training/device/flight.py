"""What a step says: left on its device by `train_step`, read once the device has come that far.

A GPU works through a queue. Whoever asks for a number waits until all before it is done, and the
queue is empty when the next step begins. So the numbers of a step are read while the next one
runs, and at once where somebody writes them down. A CPU has computed them by the time it is asked.
"""

import logging
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from opensora.core.errors import OpenSoraError
from opensora.training.device.facts import Facts, Part, StepResult
from opensora.training.start import TrainingRun

log = logging.getLogger(__name__)


class BrokenStepError(OpenSoraError):
    """Loss or gradient of a step is not a finite number; the step was left out."""


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
            BrokenStepError: loss or gradient is not a finite number; the step was left out.
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

    def _not_finite(self, run: TrainingRun, ids: list[str], what: str) -> BrokenStepError:
        """The error that names the clips which broke the run, on whatever worker they were."""
        parts = run.workers.gather(ids)
        broken = dict.fromkeys(name for part in parts for name in part)  # a group has the same
        return BrokenStepError(
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
        self._broken = 0  # in a row

    def land(self, flight: Flight, *, all_of_them: bool) -> list[StepResult]:
        """Take in a step; returns those that can be read by now, oldest first.

        Args:
            flight: the newest step.
            all_of_them: wait for it too. Without it, one that says stop or end is waited for with
                all behind it, so that no step is left when the loop ends.

        Raises:
            BrokenStepError: loss or gradient of a step is not a finite number, and of more steps
                before it than may be left out.
        """
        self._waiting.append(flight)
        results: list[StepResult] = []
        keep = 0 if all_of_them else self._behind
        while len(self._waiting) > keep:
            try:
                results.append(self._waiting.popleft().read(self._run))
            except BrokenStepError as error:
                self._broken += 1
                if self._broken > self._run.config.max_broken_steps:
                    raise
                log.warning("step_left_out in_a_row=%d reason='%s'", self._broken, error)
                continue
            self._broken = 0
            if results[-1].stop or results[-1].end:
                keep = 0
        return results


def steps_behind(device: torch.device) -> int:
    """How many steps after its own the numbers of a step are read."""
    return 1 if device.type == "cuda" else 0
