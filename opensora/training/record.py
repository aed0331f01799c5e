"""What a run says while it trains: its start, its pace, a line of metrics where one is due."""

import logging
import math
import time

import torch

from opensora.training.device.facts import StepResult
from opensora.training.start import TrainingRun

log = logging.getLogger(__name__)


class Clock:
    """Seconds of training and clips per second since the last line."""

    def __init__(self, seconds: float) -> None:
        self._start = time.monotonic() - seconds
        self._line_start = time.monotonic()
        self._samples = 0

    @property
    def seconds(self) -> float:
        """Of training, those before a resume included."""
        return time.monotonic() - self._start

    def count(self, samples: int) -> None:
        """Take in the clips of a step."""
        self._samples += samples

    def rate(self) -> float:
        """Clips a second since it was last asked for."""
        now = time.monotonic()
        rate = self._samples / max(now - self._line_start, 1e-9)
        self._line_start, self._samples = now, 0
        return rate


def is_due(run: TrainingRun, step: int | None = None) -> bool:
    """Whether a step is one of those that are written down; stops and resumes change none.

    Args:
        run: that the step is of.
        step: steps up to it, from 1; None = the newest.
    """
    step = run.counters.step if step is None else step
    return step % run.config.log_every == 0 or step == run.total_steps


def record(run: TrainingRun, result: StepResult, clock: Clock) -> None:
    """Take in the numbers of a step and write a line of metrics where one is due."""
    if run.metrics is None:
        return
    run.metrics.observe(result.loss)
    if is_due(run, result.step + 1):
        if run.lock is not None:
            run.lock.check()
        half = run.engine.dtype == torch.float16
        run.metrics.write(
            result.step + 1,
            # in fp16 a step may overflow; JSON has no infinity
            grad_norm=result.grad_norm if math.isfinite(result.grad_norm) else None,
            lr=result.lr,
            bucket=str(run.source.plan[result.position].bucket),
            samples_per_s=round(clock.rate(), 3),
            seconds=round(run.counters.seconds, 3),
            **({"overflows": run.engine.overflows} if half else {}),
        )


def announce(run: TrainingRun) -> None:
    """Say what really runs: asked-for precision and kernels may not be there."""
    engine = run.engine
    log.info(
        "train_start steps=%d..%d parameters=%d workers=%d sp_size=%d device=%s plugin=%s dtype=%s"
        " plan=%s",
        run.counters.step,
        run.last_step,
        sum(p.numel() for p in engine.parameters),
        run.workers.world_size,
        run.workers.sp_size,
        run.workers.device,
        run.config.plugin,
        str(engine.dtype).removeprefix("torch."),
        run.counters.plan_hash[:8],
    )
