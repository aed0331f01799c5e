"""The runs of a certificate: which workers do what, in which order, and what they may say."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from opensora.core.errors import OpenSoraError, Stopped
from opensora.core.io import read_json, write_json
from opensora.core.process import threads_in_use, use_threads
from opensora.core.signals import StopSignals
from opensora.training.certify.course import Course
from opensora.training.certify.verdict import Check, Judge
from opensora.training.certify.worker import (
    ABOUT_TO_KILL,
    KILLED,
    OTHER,
    OUTCOME,
    RESUMED,
    STOPPED,
    STRAIGHT,
    TASKS,
    UNDISTURBED,
)
from opensora.training.checkpoint import newest_checkpoint
from opensora.training.config import STATE, TrainConfig
from opensora.training.kernels import FILE as KERNELS

REPEATED = "repeated"
_LOG = "workers.log"
PRECISE = {"dtype": "fp32", "optimizer": {"type": "adamw", "lr": 1e-4}, "lr": None}

Start = Callable[[int], None]  # that many workers do what stands in tasks.json


class Runs:
    """Lets workers do the runs of a certificate, one lot of processes after the other.

    Args:
        config: of the run that is certified.
        course: steps and workers.
        plan: that all runs replay.
        scratch: folder of all runs.
        start: starts workers and waits for them.
        signals: what reaches this process.
    """

    def __init__(
        self,
        config: TrainConfig,
        course: Course,
        plan: Path,
        scratch: Path,
        start: Start,
        signals: StopSignals,
    ) -> None:
        self._course, self._scratch, self._start, self._signals = course, scratch, start, signals
        self._plan = str(plan)
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
        undisturbed = _undisturbed(UNDISTURBED, OTHER, changed)
        is_first = with_other and course.groups == 1  # it takes as few workers as either has
        tasks: list[dict[str, Any]]
        tasks = [{"name": name, "do": RESUMED} for name in (STOPPED, KILLED)]
        self._work(course.workers, [*tasks, *([undisturbed] if is_first else [])])
        judge = Judge(scratch, course)
        checks = [
            judge.resumed(STOPPED, "a signal", found[STOPPED], before),
            judge.resumed(KILLED, "kill -9", found[KILLED], None),
        ]
        if not all(check.passed for check in checks):  # is it the resumption, or the device?
            self._work(course.workers, [{"name": REPEATED, "do": RESUMED}])
            noise = read_json(scratch / REPEATED / OUTCOME)["largest"]
            checks = [judge.beside_noise(check, noise) for check in checks]
        facts: dict[str, Any] = read_json(scratch / STRAIGHT / OUTCOME)["facts"]
        if not with_other or course.other_workers is None:
            why = "there are no GPUs for another group of workers, or no checkpoint to go on from"
            return [*checks, Check("resume by another number of processes", None, why)], facts
        tasks = [_other(OTHER, UNDISTURBED), *([] if is_first else [undisturbed])]
        self._work(course.other_workers, tasks)
        check = judge.other(changed, before)
        if check.passed is False and (facts["dtype"], facts["optimizer"]) != ("float32", "adamw"):
            check = self._in_float32(check, facts)
        return [*checks, check], facts

    def _in_float32(self, check: Check, facts: dict[str, Any]) -> Check:
        """The check of another number of workers once more, where it failed in lower precision.

        Products of bf16, Muon's among them, turn the last bit of a sum into a thousandth: whether
        weights are near then says little of the resumption. In float32 it does.
        """
        course, scratch = self._course, self._scratch
        assert course.other_groups is not None  # else there is no such check
        stopped, other, undisturbed = (f"float32_{n}" for n in (STOPPED, OTHER, UNDISTURBED))
        precise: dict[str, Any] = {"settings": PRECISE}
        self._work(course.workers, [{"name": stopped, "do": STOPPED, **precise}])
        changed, before = self._newest(stopped), read_json(scratch / stopped / OUTCOME)
        shutil.copytree(scratch / stopped / STATE, scratch / other / STATE)
        fewest = min(course.groups, course.other_groups) * course.sp_size
        self._work(fewest, [{**_undisturbed(undisturbed, other, changed), **precise}])
        self._work(
            course.other_groups * course.sp_size, [{**_other(other, undisturbed), **precise}]
        )
        found = Judge(scratch, course).other(changed, before, (other, undisturbed))
        if not found.passed:
            return check
        words = (
            f"{found.words}, both in float32 with AdamW; in {facts['dtype']} with"
            f" {facts['optimizer']}, whose products turn a last bit into thousandths, {check.words}"
        )
        return Check(check.name, True, words, check.resumed_from, check.difference)

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
        lines = [line for line in lines if "another worker has ended" not in line]
        said = [line for line in lines if line.startswith("opensora ")]
        return " ".join((said or lines)[-1:]).removeprefix("opensora train: ")


def _other(name: str, beside: str) -> dict[str, Any]:
    """A task: go on by another number of workers, and compare with a run of another name."""
    return {"name": name, "do": OTHER, "beside": beside}


def _undisturbed(name: str, beside: str, changed: int) -> dict[str, Any]:
    """A task: change the number of groups at a step, and compare with a run of another name."""
    return {"name": name, "do": UNDISTURBED, "beside": beside, "changed": changed}


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
                os.close(former)
