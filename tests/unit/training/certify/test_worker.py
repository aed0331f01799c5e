"""A certificate is worth what it finds: a resumption that forgets something does not pass."""

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from mmengine.config import Config

from opensora.acceleration.trained import Trained
from opensora.acceleration.workers import worker_group
from opensora.core.io import read_json, write_json
from opensora.training.certify.course import Course, choose_course
from opensora.training.certify.verdict import Judge
from opensora.training.certify.worker import OUTCOME, RESUMED, STOPPED, STRAIGHT, TASKS, work
from opensora.training.checkpoint import newest_checkpoint
from opensora.training.config import STATE, TrainConfig


def do(config: TrainConfig, course: Course, scratch: Path, **tasks: str) -> None:
    given = [{"name": name, "do": what} for name, what in tasks.items()]
    plan = config.dataset["plan"]
    write_json(scratch / TASKS, {"course": asdict(course), "plan": plan, "tasks": given})
    with worker_group() as workers:
        work(config, Config(dict(vars(config))), workers, scratch)


def test_a_resumption_without_the_average_does_not_pass(
    make_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, scratch = make_config(num_steps=None), tmp_path / "scratch"
    course = choose_course(
        4,
        **{"entries": 32, "done": (0, 0), "num_steps": None, "accumulate": 1},
        **{"groups": 1, "other_groups": 2, "sp_size": 1},
    )
    do(config, course, scratch, straight=STRAIGHT, stopped=STOPPED)
    before = read_json(scratch / STOPPED / OUTCOME)
    assert before == {"positions": [[0, 1]], "stopped": True}
    _, counters = newest_checkpoint(scratch / STOPPED / STATE)
    shutil.copytree(scratch / STOPPED, scratch / "forgetful")
    do(config, course, scratch, stopped=RESUMED)
    monkeypatch.setattr(Trained, "fill", lambda *_: None)  # of the average
    do(config, course, scratch, forgetful=RESUMED)
    judge = Judge(scratch, course)
    good = judge.resumed(STOPPED, "a signal", counters.step, before)
    assert (good.passed, good.resumed_from, good.difference) == (True, 2, None)
    bad = judge.resumed("forgetful", "a signal", counters.step, before)
    assert bad.passed is False
    assert bad.difference["what"].startswith("ema.")
    assert bad.difference["step"] == course.until
    assert 0 < bad.difference["largest"] < 1
    assert f"at step {course.until} ema." in bad.words
    # where two undisturbed runs are as far apart nothing can be said; else it stays a failure
    far = bad.difference["largest_of_all"]
    assert judge.beside_noise(bad, far).passed is None
    assert judge.beside_noise(bad, far / 100).passed is False
    assert not (tmp_path / "out").exists()


def test_a_micro_batch_that_is_left_out_does_not_pass(make_config, tmp_path: Path) -> None:
    config, scratch = make_config(num_steps=None), tmp_path / "scratch"
    course = Course(0, 0, steps=4, total=8, accumulate=1, groups=1, other_groups=2)
    do(config, course, scratch, straight=STRAIGHT)
    outcome = read_json(scratch / STRAIGHT / OUTCOME)
    assert outcome["positions"] == [[0, 1, 2, 3]]
    skipped = {**outcome, "positions": [[0, 1, 3, 4]], "difference": None, "largest": 0.0}
    write_json(scratch / STRAIGHT / OUTCOME, skipped)
    found = Judge(scratch, course).resumed(STRAIGHT, "a signal", 2, {"positions": [[]]})
    assert found.passed is False
    assert "at step 3 micro batches [3] in place of [2]" in found.words
