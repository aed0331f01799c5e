"""Where another number of workers is off in low precision, float32 says whether it resumes."""

import json
from pathlib import Path
from typing import Any

import pytest

from opensora.core.errors import OpenSoraError
from opensora.core.io import read_json, write_json
from opensora.core.signals import StopSignals
from opensora.training.certify.course import Course
from opensora.training.certify.runs import PRECISE, Runs
from opensora.training.certify.verdict import Check
from opensora.training.certify.worker import ABOUT_TO_KILL, OUTCOME, TASKS
from opensora.training.checkpoint import METRICS
from opensora.training.config import STATE

CHANGED, COURSE = 2, Course(0, 0, steps=4, total=8, accumulate=1, groups=1, other_groups=2)
FAR = {"what": "ema.x", "largest": 0.003}


class Workers:
    """Does the tasks of a certificate as if everything but numbers of workers were exact.

    Attributes:
        done: workers and tasks, in turn.

    Args:
        scratch: of the certificate.
        facts: how the run computes.
        far: names of the runs of another number of workers that come out elsewhere.
    """

    def __init__(self, scratch: Path, facts: dict[str, str], far: set[str]) -> None:
        self.done: list[tuple[int, dict[str, Any]]] = []
        self._scratch, self._facts, self._far = scratch, facts, far

    def start(self, number: int) -> None:
        for task in read_json(self._scratch / TASKS)["tasks"]:
            self.done.append((number, task))
            folder = self._scratch / task["name"]
            (folder / STATE).mkdir(parents=True, exist_ok=True)
            if task["do"] == "killed":
                (folder / ABOUT_TO_KILL).touch()
                raise OpenSoraError("worker 0 was ended by signal 9")
            self._do(task, folder)

    def _do(self, task: dict[str, Any], folder: Path) -> None:
        steps = [{"step": step, "loss": 1.0} for step in range(4)]
        (folder / METRICS).write_text("\n".join(map(json.dumps, steps)))
        first, later = [[0, 1]], COURSE.blocks(CHANGED)[CHANGED:]
        positions = {
            "stopped": first,
            "other": [[block[rank] for block in later] for rank in range(2)],
        }.get(task["do"], [[2, 3]])
        is_far = task["name"] in self._far
        found = {"difference": FAR if is_far else None, "largest": 0.003 if is_far else 1e-8}
        write_json(folder / OUTCOME, {"positions": positions, "facts": self._facts, **found})


def certify(
    tmp_path: Path, make_config: Any, monkeypatch: Any, facts: dict[str, str], far: set[str]
) -> tuple[Check, Workers]:
    """The check of another number of workers, and what was done for it."""
    monkeypatch.setattr(Runs, "_newest", lambda *_: CHANGED)
    workers = Workers(tmp_path, facts, far)
    with StopSignals() as signals:
        runs = Runs(make_config(), COURSE, tmp_path / "plan", tmp_path, workers.start, signals)
        checks, _ = runs.checks()
    assert [check.passed for check in checks[:2]] == [True, True]
    return checks[2], workers


LOW = {"dtype": "bfloat16", "optimizer": "adamw"}


def test_it_is_done_once_more_in_float32_with_adamw(tmp_path, make_config, monkeypatch):
    check, workers = certify(tmp_path, make_config, monkeypatch, LOW, {"other"})
    assert check.passed is True
    assert "both in float32 with AdamW; in bfloat16 with adamw" in check.words
    assert "ema.x differs" in check.words
    assert "by up to 0.003" in check.words
    assert check.difference == {**FAR, "step": 4}  # what it was in the run's own precision
    repeated = [(number, task) for number, task in workers.done if "settings" in task]
    assert [(number, task["name"], task["do"]) for number, task in repeated] == [
        (1, "float32_stopped", "stopped"),
        (1, "float32_undisturbed", "undisturbed"),
        (2, "float32_other", "other"),
    ]
    assert all(task["settings"] == PRECISE for _, task in repeated)
    assert repeated[1][1]["changed"] == CHANGED


def test_what_fails_there_too_fails(tmp_path, make_config, monkeypatch):
    far = {"other", "float32_other"}
    check, _ = certify(tmp_path, make_config, monkeypatch, LOW, far)
    assert check.passed is False
    assert "float32" not in check.words


@pytest.mark.parametrize(("optimizer", "repeats"), [("adamw", False), ("muon", True)])
def test_a_run_in_float32_with_adamw_is_not_repeated(
    tmp_path, make_config, monkeypatch, optimizer, repeats
):
    facts = {"dtype": "float32", "optimizer": optimizer}
    check, workers = certify(tmp_path, make_config, monkeypatch, facts, {"other"})
    assert check.passed is repeats
    assert any("settings" in task for _, task in workers.done) is repeats
