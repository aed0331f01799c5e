"""`certificate.json`: whether a run that is disturbed ends where an undisturbed one does.

A few steps of the run's own config are trained in a scratch folder beside the outputs: straight;
with a signal and a resumption; with `kill -9` and a resumption; and resumed by another number of
workers, beside a run that changes its number at the same step and is not disturbed. Every
resumption happens in processes of their own.
"""

import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from opensora import __version__
from opensora.acceleration.workers import Workers
from opensora.core.errors import OpenSoraError
from opensora.core.io import scratch_folder, write_json
from opensora.core.lock import RunLock
from opensora.core.seal import sealed
from opensora.core.signals import StopSignals
from opensora.core.versions import VERSIONS
from opensora.plans.compile import BatchPlan
from opensora.training.certify.course import Course, choose_course, other_number
from opensora.training.certify.runs import Runs, Start
from opensora.training.certify.verdict import Check
from opensora.training.checkpoint import read_counters
from opensora.training.config import TrainConfig
from opensora.training.load import checkpoint_to_load
from opensora.training.plan import PLAN, choose_plan, compile_plan_of, continues_plan

CERTIFICATE = "certificate.json"


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
            elif not former.name.startswith("lock."):
                former.unlink(missing_ok=True)
        (Path(config.outputs) / CERTIFICATE).unlink(missing_ok=True)
        plan = _own_plan(config, fields, scratch, processes)
        course = _course(config, plan, steps=steps, processes=processes, gpus=gpus)
        runs = Runs(config, course, plan.state_folder / PLAN, scratch, start, signals)
        checks, facts = runs.checks()
    write_certificate(Path(config.outputs), course, checks, facts)
    names = ", ".join(
        f"{check.name} {'passed' if check.passed else 'not checked'}" for check in checks
    )
    return (
        f"resume of steps {course.first}..{course.until}: {names}, {time.monotonic() - began:.0f} s"
        f" -> {config.outputs}/{CERTIFICATE}"
    )


def write_certificate(
    outputs: Path, course: Course, checks: list[Check], facts: dict[str, Any]
) -> None:
    """Write the certificate into the outputs of a run.

    Raises:
        OpenSoraError: it says that a check failed.
    """
    broken = next((check for check in checks if check.passed is False), None)
    write_json(
        outputs / CERTIFICATE,
        sealed(
            {
                "passed": broken is None,
                "steps": {"from": course.first, "to": course.until},
                "checks": [asdict(check) for check in checks],
                "computed_with": facts,
                "versions": {"opensora": __version__, "train": VERSIONS["train"]},
            }
        ),
    )
    if broken is not None:
        raise OpenSoraError(
            f"--verify-resume: {broken.name}: {broken.words}; {outputs}/{CERTIFICATE}"
            " has all checks; do not rely on resuming this run until they pass"
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
    plan = BatchPlan(mine.state_folder / PLAN)
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
