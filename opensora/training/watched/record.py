"""What a run says while it trains: its start, its pace, a line of metrics where one is due."""

import logging
import math
from typing import Any

import torch

from opensora.datasets.stored import LatentBatch
from opensora.training.device.facts import StepResult
from opensora.training.start import TrainingRun
from opensora.training.watched.held_out import is_due as held_out_is_due
from opensora.training.watched.held_out import open_held_out
from opensora.training.watched.losses import means
from opensora.training.watched.pace import MFU_COUNTS, Clock, Work

log = logging.getLogger(__name__)


def is_due(run: TrainingRun, step: int | None = None) -> bool:
    """Whether a step is one of those that are written down; stops and resumes change none.

    Args:
        run: that the step is of.
        step: steps up to it, from 1; None = the newest.
    """
    step = run.counters.step if step is None else step
    return step % run.config.log_every == 0 or step == run.total_steps


class Recorder:
    """Takes in the steps of a run and writes its lines, which all workers make together.

    Args:
        run: at its first step.
    """

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        self.clock, self._work = Clock(run.counters.seconds), Work(run)
        self._held_out = open_held_out(run)
        device, peak = self._work.device, self._work.peak
        log.info(
            "train_pace device='%s' peak_tflops=%s workers=%d mfu='%s'",
            *(device, "unknown" if peak is None else f"{peak / 1e12:.0f}"),
            *(run.workers.world_size, MFU_COUNTS),
        )

    def took(self, batch: LatentBatch) -> None:
        """Take in a micro batch of this worker."""
        self.clock.took(*self._work.of(batch["latents"].shape))

    def record(self, result: StepResult) -> None:
        """Take in the numbers of a step and write a line of metrics where one is due."""
        run, step = self._run, result.step + 1
        self.clock.count(result.samples)
        if run.metrics is not None:
            run.metrics.observe(result.loss)
        if not is_due(run, step):
            return
        fields: dict[str, Any] = self.clock.line(run.workers, self._work.peak)
        fields |= means(run.losses.collected(run.workers))
        run.losses.clear()
        if self._held_out is not None and held_out_is_due(run, step):
            fields |= self._held_out.measure(run)
            self.clock.restart()  # the pace is that of training
        if run.metrics is None:
            return
        if run.lock is not None:
            run.lock.check()
        run.metrics.write(
            step,
            # in fp16 a step may overflow; JSON has no infinity
            grad_norm=result.grad_norm if math.isfinite(result.grad_norm) else None,
            lr=result.lr,
            bucket=str(run.source.plan[result.position].bucket),
            seconds=round(run.counters.seconds, 3),
            **({"overflows": run.engine.overflows} if run.engine.dtype == torch.float16 else {}),
            **fields,
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
