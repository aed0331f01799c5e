"""The progress inside a job is read from the end of its log."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opensora.dag.display.job_progress import JobProgress, read_job_progress
from opensora.dag.state import DagJob


def written(now: float, text: str) -> str:
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    return f"{clock} INFO opensora.progress {text}\n"


def test_the_newest_line_counts(tmp_path: Path) -> None:
    now = time.time()
    log = tmp_path / "a.log"
    log.write_text(
        written(now - 20, "train done=5/80 seconds=10")
        + written(now - 5, "train done=20/80 seconds=40")
        + "2026-01-01 10:00:00 INFO opensora.training.loop train step=21 loss=0.1\n"
    )
    inner = read_job_progress(DagJob(1, "train", logs=(str(log),), started=now - 60))
    assert inner is not None
    assert (inner.done, inner.total, inner.seconds) == (20, 80, 40.0)
    # 2 s a step, 60 steps, 5 s since then; the clock of a log counts whole seconds
    assert inner.seconds_left(now) == pytest.approx(115, abs=1)


def test_work_inside_the_work_is_passed_over(tmp_path: Path) -> None:
    now = time.time()
    log = tmp_path / "a.log"
    log.write_text(
        written(now, "sample batches done=1/6 seconds=30")
        + written(now, "sample steps done=9/10 seconds=25")
    )
    inner = read_job_progress(DagJob(1, "sample", logs=(str(log),), started=now - 60))
    assert inner is not None
    assert (inner.done, inner.total) == (1, 6)


def test_the_log_of_a_former_run_says_nothing(tmp_path: Path) -> None:
    now = time.time()
    log = tmp_path / "a.log"
    log.write_text(written(now - 3600, "train done=5/80 seconds=10"))
    job = DagJob(1, "train", logs=(str(log),), started=now)
    assert read_job_progress(job) is None  # its lines are old
    os.utime(log, (now - 3600, now - 3600))
    assert read_job_progress(job) is None
    assert read_job_progress(DagJob(1, "train", logs=(str(tmp_path / "none.log"),))) is None
    assert read_job_progress(DagJob(1, "train")) is None


def test_work_of_unknown_size_says_nothing(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text(written(time.time(), "train done=5/? seconds=10"))
    assert read_job_progress(DagJob(1, "train", logs=(str(log),))) is None


def test_no_time_is_negative() -> None:
    assert JobProgress(5, 10, 10.0, written=0.0).seconds_left(1000.0) == 0


def test_the_lines_are_those_of_the_progress_display(tmp_path: Path) -> None:
    code = (
        "from opensora.core import log; log._SECONDS_BETWEEN_LINES = 0;"
        "log.setup_logging(); list(log.progress(range(7), description='train'))"
    )
    log = tmp_path / "a.log"
    started = time.time()
    with open(log, "w") as file:
        subprocess.run([sys.executable, "-c", code], stderr=file, check=True)
    inner = read_job_progress(DagJob(1, "train", logs=(str(log),), started=started))
    assert inner is not None
    assert (inner.done, inner.total) == (6, 7)
