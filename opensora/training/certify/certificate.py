"""`certificate.json`: whether a run that is disturbed ends where an undisturbed one does.

A few steps of the run's own config are trained in a scratch folder beside the outputs: straight;
with a signal and a resumption; with `kill -9` and a resumption; and resumed by another number of
workers, beside a run that changes its number at the same step and is not disturbed. Every
resumption happens in processes of their own.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from opensora import __version__
from opensora.acceleration.workers import Workers
from opensora.core.errors import OpenSoraError, Stopped
from opensora.core.io import read_json, scratch_folder, write_json
from opensora.core.lock import RunLock
from opensora.core.process import threads_in_use, use_threads
from opensora.core.seal import sealed
from opensora.core.signals import StopSignals
from opensora.core.versions import VERSIONS
from opensora.plans.compile import BatchPlan
from opensora.training.certify.course import Course, choose_course, other_number
from opensora.training.certify.verdict import Check, judge_other, judge_resumed
from opensora.training.certify.worker import (
    ABOUT_TO_KILL,
    KILLED,
    OTHER,
    OUTCOME,
    STOPPED,
    STRAIGHT,
    TASKS,
    UNDISTURBED,
)
from opensora.training.checkpoint import newest_checkpoint, read_counters
from opensora.training.config import STATE, TrainConfig
from opensora.training.kernels import FILE as KERNELS
from opensora.training.load import checkpoint_to_load
from opensora.training.plan import choose_plan, compile_plan_of, continues_plan

CERTIFICATE = "certificate.json"
RESUMED = "resumed"
_LOG, _LAST_LINES = "workers.log", 3

Start = Callable[[int], None]  # that many workers do what stands in tasks.json


def scratch_of(config: TrainConfig) -> Path:
    """The folder beside the outputs in which a certificate is made; it is removed afterwards."""
    outputs = Path(config.outputs)
    return outputs.with_name(f".{outputs.name}.certify")


def visible_gpus(asked: int) -> int:
    """GPUs of this machine, for a run that computes on some."""
    return torch.cuda.device_count() if asked else 0


def certify(
    config: TrainConfig,
    fields: dict[str, Any],
    *,
    steps: int,
    processes: int,
    gpus: int,
    start: Start,
    signals: StopSignals,
) -> str:
    """Check that a run resumes exactly and write `certificate.json` into its outputs.

    Args:
        config: of the run; nothing of its state is read or written.
        fields: the whole config, from which an online run's plan is compiled.
        steps: to train.
        processes: workers of the run, on this machine.
        gpus: those that are visible where the run is on GPUs, else 0.
        start: starts workers and waits for them.
        signals: what reaches this process.

    Returns:
        One summary line.

    Raises:
        OpenSoraError: a check failed, or the run could not be trained; one sentence says which.
        Stopped: a signal came; nothing is left behind.
    """
    scratch = scratch_of(config)
    began = time.monotonic()
    with RunLock(scratch, "is being certified"), scratch_folder(scratch):
        for former in scratch.iterdir():  # of one that was killed
            if former.is_dir():
                shutil.rmtree(former, ignore_errors=True)
        plan = _own_plan(config, fields, scratch, processes)
        course = _course(config, plan, steps=steps, processes=processes, gpus=gpus)
        checks, facts = _Certifier(config, course, plan, scratch, start, signals).checks()
    passed = all(check.passed is not False for check in checks)
    write_json(
        Path(config.outputs) / CERTIFICATE,
        sealed(
            {
                "passed": passed,
                "steps": {"from": course.first, "to": course.until},
                "checks": [asdict(check) for check in checks],
                "computed_with": facts,
                "versions": {"opensora": __version__, "train": VERSIONS["train"]},
            }
        ),
    )
    if not passed:
        broken = next(check for check in checks if check.passed is False)
        raise OpenSoraError(
            f"--verify-resume: {broken.name}: {broken.words}; {config.outputs}/{CERTIFICATE}"
            " has all checks; do not rely on resuming this run until they pass"
        )
    names = ", ".join(
        f"{check.name} {'passed' if check.passed else 'not checked'}" for check in checks
    )
    return (
        f"resume of steps {course.first}..{course.until}: {names}, {time.monotonic() - began:.0f} s"
        f" -> {config.outputs}/{CERTIFICATE}"
    )


def _own_plan(
    config: TrainConfig, fields: dict[str, Any], scratch: Path, processes: int
) -> TrainConfig:
    """The config in a folder of the scratch, with the plan that all runs replay in its state."""
    mine = replace(config, outputs=str(scratch / "plan"))
    if config.is_online and config.dataset.get("plan") is None:
        compile_plan_of(mine, fields, world_size=processes)
    alone = Workers(0, 1, torch.device("cpu"))
    choose_plan(mine, alone, checkpoint_to_load(config.load))
    return mine


def _course(
    config: TrainConfig, mine: TrainConfig, *, steps: int, processes: int, gpus: int
) -> Course:
    plan = BatchPlan(_plan_file(mine))
    loaded = checkpoint_to_load(config.load)
    done = (0, 0)
    if loaded is not None:
        former = read_counters(loaded)
        done = (former.step, former.micro_batches if continues_plan(plan, former) else 0)
    groups = processes // config.sp_size
    return choose_course(
        steps,
        entries=len(plan),
        done=done,
        num_steps=config.num_steps,
        accumulate=config.accumulate,
        groups=groups,
        other_groups=other_number(groups, config.sp_size, gpus),
        sp_size=config.sp_size,
    )


def _plan_file(mine: TrainConfig) -> Path:
    return mine.state_folder / "plan.parquet"


class _Certifier:
    """Lets workers do the runs of a certificate, one lot of processes after the other."""

    def __init__(
        self,
        config: TrainConfig,
        course: Course,
        plan: TrainConfig,
        scratch: Path,
        start: Start,
        signals: StopSignals,
    ) -> None:
        self._course, self._scratch, self._start, self._signals = course, scratch, start, signals
        self._plan = str(_plan_file(plan))
        most = max(course.workers, course.other_workers or 0)
        self._threads = max(1, threads_in_use() // most)  # sums are split alike in all runs
        own = config.state_folder / KERNELS
        if own.is_file():
            target = scratch / STRAIGHT / STATE / KERNELS
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(own, target)

    def checks(self) -> tuple[list[Check], dict[str, Any]]:
        """All checks, and how the run computes."""
        course, scratch = self._course, self._scratch
        # 1. straight, stopped, killed
        self._work(
            course.workers,
            [{"name": name, "do": name} for name in (STRAIGHT, STOPPED, KILLED)],
            ends=scratch / KILLED / ABOUT_TO_KILL,
        )
        found = {name: self._newest(name) for name in (STOPPED, KILLED)}
        changed = found[STOPPED]
        shutil.copytree(scratch / STOPPED / STATE, scratch / OTHER / STATE)
        before = read_json(scratch / STOPPED / OUTCOME)
        # 2. resumed in other processes, and by another number of them
        with_other = course.other_groups is not None and course.first < changed < course.until
        undisturbed = {"name": UNDISTURBED, "do": UNDISTURBED, "changed": changed}
        is_first = with_other and course.groups == 1  # it takes as few workers as either has
        resumed = [{"name": name, "do": RESUMED} for name in (STOPPED, KILLED)]
        self._work(course.workers, [*resumed, *([undisturbed] if is_first else [])])
        checks = [
            judge_resumed(
                name, how, scratch, course, found[name], before if name == STOPPED else None
            )
            for name, how in ((STOPPED, "a signal"), (KILLED, "kill -9"))
        ]
        facts: dict[str, Any] = read_json(scratch / STRAIGHT / OUTCOME)["facts"]
        if not with_other:
            why = (
                "one group of GPUs is at hand"
                if course.other_groups is None
                else "nothing to go on from"
            )
            return [*checks, Check("another number of processes", None, why)], facts
        assert course.other_workers is not None
        tasks = [{"name": OTHER, "do": OTHER}, *([] if is_first else [undisturbed])]
        self._work(course.other_workers, tasks)
        return [*checks, judge_other(scratch, course, changed, before)], facts

    def _work(self, workers: int, tasks: list[dict[str, Any]], ends: Path | None = None) -> None:
        """Let workers do tasks.

        Args:
            workers: processes.
            tasks: see `worker.work`.
            ends: file that is there where the last task has come to its violent end.

        Raises:
            Stopped: a signal came.
            OpenSoraError: a worker failed; with what it said.
        """
        course = asdict(self._course)
        write_json(self._scratch / TASKS, {"course": course, "plan": self._plan, "tasks": tasks})
        use_threads(self._threads * workers)
        error: OpenSoraError | None = None
        try:
            with _said_in(self._scratch / _LOG):
                self._start(workers)
        except OpenSoraError as failure:
            error = failure
        if self._signals.received or isinstance(error, Stopped):
            raise Stopped(
                f"{self._signals.received or 'a signal'} came before the certificate was made;"
                " nothing of it is left, run the same command again"
            )
        if error is not None and not (ends and ends.is_file()):
            raise OpenSoraError(f"--verify-resume: {self._sentence() or error}") from error

    def _newest(self, name: str) -> int:
        """Step of the newest checkpoint of a run; 0 for none."""
        newest = newest_checkpoint(self._scratch / name / STATE)
        return newest[1].step if newest else 0

    def _sentence(self) -> str:
        """What the workers said last of why they ended."""
        lines = (self._scratch / _LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line for line in lines if line.startswith("opensora ")]
        return " ".join((said or lines)[-1:]).removeprefix("opensora train: ")


@contextmanager
def _said_in(path: Path) -> Iterator[None]:
    """Let what processes that are started here say go to a file: a kill makes them complain."""
    kept = {number: os.dup(number) for number in (1, 2)}
    with path.open("ab") as file:
        for number in kept:
            os.dup2(file.fileno(), number)
        try:
            yield
        finally:
            for number, former in kept.items():
                os.dup2(former, number)
                with suppress(OSError):
                    os.close(former)
