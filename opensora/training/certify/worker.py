"""What the workers of a certificate do: runs of a few steps, one by one, and comparisons."""

import gc
import shutil
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from opensora.acceleration.workers import Workers
from opensora.core.errors import Stopped
from opensora.core.io import read_json, write_json
from opensora.core.process import threads_in_use
from opensora.core.signals import StopSignals
from opensora.training.certify.course import Course
from opensora.training.certify.parts import (
    CLOSE,
    first_difference,
    keep,
    largest_difference,
    named,
    parts_of,
)
from opensora.training.certify.witness import Witness, count_as_dealt
from opensora.training.checkpoint import read_checkpoint, step_folder
from opensora.training.config import STATE, TrainConfig
from opensora.training.kernels import FILE as KERNELS
from opensora.training.loop import run_steps, save_checkpoint, train
from opensora.training.start import TrainingRun, prepare_run
from opensora.training.state.saver import Saver
from opensora.training.watched.watch import Watchdog

TASKS, OUTCOME, WHOLE = "tasks.json", "outcome.json", "whole.safetensors"
STRAIGHT, STOPPED, KILLED, RESUMED, OTHER, UNDISTURBED = (
    *("straight", "stopped", "killed"),
    *("resumed", "other", "undisturbed"),
)
ABOUT_TO_KILL = "about_to_kill"  # a file that says how far a run has come


def work(config: TrainConfig, resolved: Any, workers: Workers, scratch: Path) -> None:
    """Do what stands in `tasks.json`: a list of `name`, `do` and what goes with it.

    Raises:
        OpenSoraError: a run could not be done.
    """
    given = read_json(scratch / TASKS)
    course = Course(**given["course"])
    settings: dict[str, Any] = {
        **{"num_steps": course.total, "until": course.until, "ckpt_every": course.ckpt_every},
        **{
            "log_every": 1,
            "wandb": False,
            "loggers": [],
            "eval_every": None,
            "dataset": {**config.dataset, "plan": given["plan"]},
        },
    }
    for task in given["tasks"]:
        folder = scratch / task["name"]
        workers.first(partial(_same_kernels, scratch, folder))
        mine = replace(config, **settings, **task.get("settings", {}), outputs=str(folder))
        outcome: dict[str, Any] = {}
        if task["do"] == UNDISTURBED:
            witness = _undisturbed(mine, workers, course, task["changed"])
        else:
            witness, outcome = _run(mine, resolved, workers, course, task, folder)
        outcome |= {"positions": workers.gather(witness.positions)}
        if not outcome.get("stopped"):
            outcome |= _look_back(witness, workers, task, scratch)
        if workers.is_main:
            write_json(folder / OUTCOME, outcome)
        workers.gather(None)
        del witness
        _let_go()


def _run(
    config: TrainConfig,
    resolved: Any,
    workers: Workers,
    course: Course,
    task: dict[str, Any],
    folder: Path,
) -> tuple[Witness, dict[str, Any]]:
    """Train, and be disturbed on one worker as the task says: by a signal, or by an end at once."""
    at, number = 0, None
    if task["do"] in (STOPPED, KILLED) and workers.rank == workers.world_size - 1:
        is_stop = task["do"] == STOPPED
        number = signal.SIGTERM if is_stop else signal.SIGKILL
        at = (course.stop_in if is_stop else course.kill_after) * course.accumulate
    if task["do"] == KILLED:
        workers.first(lambda: write_json(folder / ABOUT_TO_KILL, course.first + course.kill_after))
    witness = Witness(at, number)
    try:
        with StopSignals() as signals:
            train(config, resolved, workers, signals, witness=witness.look)
    except Stopped:
        return witness, {"stopped": True}
    return witness, {"stopped": False}


def _undisturbed(config: TrainConfig, workers: Workers, course: Course, changed: int) -> Witness:
    """Train all steps in one go, as so many groups at first and as others from a step on.

    Nothing is stopped or read: fewer workers do it all by accumulating what more of them would each
    have done.
    """
    before = course.groups * course.accumulate // workers.num_groups
    assert course.other_groups is not None  # else there is no such task
    after = course.other_groups * course.accumulate // workers.num_groups
    config = replace(config, until=changed, accumulate=before, ckpt_every=course.until + 1)
    run = prepare_run(config, workers)
    if course.accumulate == 1:
        steps = range(course.first, course.until)
        dealt = [course.groups if step < changed else course.other_groups for step in steps]
        count_as_dealt(run, course.blocks(changed), dealt)
    witness = Witness()
    witness.look(run)
    saver = Saver(config.state_folder, workers, None)
    with StopSignals() as signals, Watchdog() as watchdog, saver:
        run_steps(run, signals, watchdog, saver)
        run.config = replace(config, until=course.until, accumulate=after)
        run_steps(run, signals, watchdog, saver)
        save_checkpoint(run, saver)
        saver.wait()
    return witness


def _look_back(
    witness: Witness, workers: Workers, task: dict[str, Any], scratch: Path
) -> dict[str, Any]:
    """Keep what others are compared with, and compare with what others kept."""
    run = witness.run
    assert run is not None  # it has come to its end
    found: dict[str, Any] = {}
    name = f"parts.{workers.rank}.safetensors"
    if task["do"] == STRAIGHT:
        keep(parts_of(run), scratch / STRAIGHT / name)
        found["facts"] = _facts(run)
    elif task["do"] == RESUMED:
        parts, kept = parts_of(run), scratch / STRAIGHT / name
        mine = first_difference(parts, kept)
        by_rank = [{**one, "worker": rank} for rank, one in enumerate(workers.gather(mine)) if one]
        found["difference"] = by_rank[0] if by_rank else None
        found["largest"] = max(workers.gather(largest_difference(parts, kept) if mine else 0.0))
    elif workers.is_main:  # another number of workers: what they hold has come together here
        last = read_checkpoint(
            step_folder(run.config.state_folder, run.counters.step), run.counters
        )
        whole = dict(named("", {"model": last.model, "ema": last.ema}))
        counterpart = scratch / task["beside"] / WHOLE
        if counterpart.is_file():
            found["difference"] = first_difference(whole, counterpart, allowed=CLOSE)
            found["largest"] = largest_difference(whole, counterpart)
        else:
            keep(whole, scratch / task["name"] / WHOLE)
    return found


def _facts(run: TrainingRun) -> dict[str, Any]:
    """What stands in a certificate of how a run computes."""
    is_cuda = run.workers.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if is_cuda else "cpu",
        "dtype": str(run.engine.dtype).removeprefix("torch."),
        "plugin": run.config.plugin,
        "optimizer": str(run.config.optimizer.get("type", "adamw")),
        "workers": run.workers.world_size,
        "sp_size": run.workers.sp_size,
        "accumulate": run.config.accumulate,
        "threads": threads_in_use(),
        "torch": str(torch.__version__),
        "parameters": sum(p.numel() for p in run.engine.parameters),
        "plan": run.counters.plan_hash,
        "recipe": run.counters.recipe_hash,
    }


def _same_kernels(scratch: Path, folder: Path) -> None:
    """Let all runs compute with the kernels of the first; a GPU would choose them by their time."""
    chosen, target = scratch / STRAIGHT / STATE / KERNELS, folder / STATE / KERNELS
    if chosen.is_file() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(chosen, target)


def _let_go() -> None:
    """Free the memory of the run before the next one is built."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
