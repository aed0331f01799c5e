"""The training loop: replay the plan, `accumulate` micro batches per step and worker."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from opensora.acceleration.workers import Workers
from opensora.core.errors import ConfigError, Stopped
from opensora.core.lock import RunLock
from opensora.core.log import progress
from opensora.core.signals import StopSignals
from opensora.datasets.stored import LatentBatch
from opensora.training.checkpoint import write_outputs
from opensora.training.config import TrainConfig
from opensora.training.data import read_ahead
from opensora.training.device.flight import Flights
from opensora.training.fit.memory import out_of_memory, warn_of_memory
from opensora.training.rejects import FILE as REJECTED
from opensora.training.rejects import write_rejected
from opensora.training.results import completed, results_of
from opensora.training.start import TrainingRun, prepare_run
from opensora.training.state.saver import Saver
from opensora.training.step import train_step
from opensora.training.watched.record import Recorder, announce, is_due
from opensora.training.watched.watch import FirstStepsCheck, Watchdog

log = logging.getLogger(__name__)


def train(
    config: TrainConfig,
    resolved: Any,
    workers: Workers,
    signals: StopSignals,
    *,
    witness: Callable[[TrainingRun], None] | None = None,
) -> str:
    """Train one stage from its newest checkpoint to its end and write the results.

    Args:
        config: the fields of the stage.
        resolved: the whole MMEngine config, saved beside the results.
        workers: the processes that train together.
        signals: asked after every step whether to stop.
        witness: shown the run before its first step.

    Returns:
        One summary line.

    Raises:
        Stopped: a signal came; a checkpoint is written and the same command continues.
        OpenSoraError: the loss left the finite numbers, the run could not be set up, or another
            one writes to the same folder.
    """
    state = config.state_folder
    with _only_run(state, workers) as lock, Saver(state, workers, lock) as saver:
        run = prepare_run(config, workers)
        run.lock = lock
        if witness is not None:
            witness(run)
        return _train(run, resolved, signals, saver)


@contextmanager
def _only_run(folder: Path, workers: Workers) -> Iterator[RunLock | None]:
    """Hold the lock of the folder, on the main worker; None on the others.

    Raises:
        OpenSoraError: another run holds it.
    """
    lock = RunLock(folder, "is being trained")
    workers.first(lock.take)
    try:
        yield lock if workers.is_main else None
    finally:
        if workers.is_main:
            lock.give_back()


def _train(run: TrainingRun, resolved: Any, signals: StopSignals, saver: Saver) -> str:
    config = run.config
    announce(run)
    warn_of_memory(run)
    with Watchdog() as watchdog:
        run_steps(run, signals, watchdog, saver)
        save_checkpoint(run, saver, finished=True)
        saver.wait()
    if run.workers.is_main:
        assert run.metrics is not None  # the main worker keeps both
        assert run.lock is not None
        run.lock.check()
        by_hand = ended_by_hand(run)
        model, ema = results_of(run)
        write_outputs(
            Path(config.outputs),
            completed(resolved, run),
            run.metrics.ended_by_hand(by_hand) if by_hand else run.metrics.text,
            model=model,
            ema=ema,
        )
        rejected = [] if run.rejected is None else run.rejected.rows()
        write_rejected(Path(config.outputs) / REJECTED, rejected)
    done = run.counters
    smooth = "none" if done.loss_ema is None else f"{done.loss_ema:.4f}"
    ended = f", ended by hand at {by_hand}" if (by_hand := ended_by_hand(run)) else ""
    return f"{done.step} steps{ended}, loss {smooth}, {done.seconds:.0f} s -> {config.outputs}"


def ended_by_hand(run: TrainingRun) -> str:
    """Where a file STOP ended the run, as `step 12 of 600`; nothing where it reached its end."""
    step = run.counters.step
    return f"step {step} of {run.last_step}" if step < run.last_step else ""


def is_done(run: TrainingRun) -> bool:
    """Whether a file STOP says that the newest checkpoint is what was wanted.

    Raises:
        ConfigError: there is none.
    """
    stop = run.config.stop_file
    if not stop.exists():
        return False
    if run.counters.step == 0:
        raise ConfigError(
            f"{stop}: it ends a stage at its newest checkpoint and there is none yet; remove the"
            " file to train"
        )
    return True


def run_steps(run: TrainingRun, signals: StopSignals, watchdog: Watchdog, saver: Saver) -> None:
    """Do all steps that are left, or those until there is a file STOP.

    Raises:
        Stopped: a worker was asked to stop; a checkpoint is written.
    """
    if run.workers.first(lambda: is_done(run)):
        return
    first = run.counters
    steps = range(first.step, run.last_step)
    groups, each = run.workers.num_groups, run.config.accumulate
    recorder = Recorder(run)
    micro_batches = _micro_batches(run, watchdog, recorder)
    check = FirstStepsCheck()
    flights = Flights(run)
    for step in progress(steps, description="train"):
        position, batch = next(micro_batches)
        asked = {
            "stop": signals.received is not None,
            "end": run.workers.is_main and run.config.stop_file.exists(),
        }
        more = islice(micro_batches, each - 1)
        with out_of_memory(run, step, position, batch["latents"]), run.workers.meeting_in_passing():
            flight = train_step(run, step, position, batch, more=more, **asked)
        saver.get_ready(run)
        run.counters = replace(
            run.counters,
            step=step + 1,
            micro_batches=run.counters.micro_batches + groups * each,
            seconds=recorder.clock.seconds,
        )
        if run.ema is not None:
            run.ema.update(step)
        if run.rejected is not None and is_due(run):
            run.rejected.share()
        saves = (step + 1) % run.config.ckpt_every == 0 and step + 1 < run.last_step
        known = is_due(run) or saves or step + 1 == run.last_step
        results = flights.land(flight, all_of_them=known)
        for result in results:
            recorder.record(result)
            if result.predict_zero is not None and run.workers.is_main:
                check.observe(result.loss, result.predict_zero)
        if any(result.end for result in results):
            return
        if any(result.stop for result in results):
            save_checkpoint(run, saver)
            saver.wait()
            sentence = (
                f"after step {step + 1} of {run.total_steps} with a checkpoint in"
                f" {run.config.state_folder}; run the same command again"
            )
            raise Stopped(sentence if run.workers.is_main else "")
        if saves:
            save_checkpoint(run, saver)


def _micro_batches(
    run: TrainingRun, watchdog: Watchdog, recorder: Recorder
) -> Iterator[tuple[int, LatentBatch]]:
    """Positions and encoded micro batches of this worker, up to its last step."""
    first, each = run.counters, run.config.accumulate
    groups, group = run.workers.num_groups, run.workers.group
    number = (run.last_step - first.step) * each
    positions = [first.micro_batches + k * groups + group for k in range(number)]
    batches = read_ahead(run.source, positions, run.config.num_workers)
    for k, position in enumerate(positions):
        with recorder.clock.waiting():
            batch = run.source.encode(position, next(batches))
        recorder.took(batch)
        watchdog.enter(first.step + k // each, batch["ids"])
        yield position, batch


def save_checkpoint(run: TrainingRun, saver: Saver, *, finished: bool = False) -> None:
    """Begin a checkpoint; all workers take part, and it is written beside the steps that follow.

    Raises:
        OpenSoraError: another run has taken the folder over, or the checkpoint before this one
            could not be written.
    """
    if run.rejected is not None:
        run.rejected.share()
    run.counters = replace(run.counters, loss_sums=run.losses.collected(run.workers))
    if run.metrics is not None:
        metrics = run.metrics
        run.counters = replace(run.counters, loss_ema=metrics.loss_ema, losses=metrics.losses)
    saver.start(run, finished=finished)
