"""The words of the display."""

import pytest

from opensora.dag.display.job_progress import JobProgress
from opensora.dag.display.line import ending, finished_line, fit_width, left_words, progress_line
from opensora.dag.failure import JobFailure
from opensora.dag.state import DagJob, DagRun


def run_of(total: int, done: int, *running: DagJob) -> DagRun:
    run = DagRun(counts={"a": total})
    run.finished = [(DagJob(100 + k, "a"), 1.0) for k in range(done)]
    run.running = {job.number: job for job in running}
    return run


def test_the_line_says_stage_jobs_steps_and_time() -> None:
    run = run_of(31, 24, DagJob(1, "train", ("stage2",)))
    line = progress_line(run, {1: JobProgress(412, 685, 200.0, 0.0)}, 236.0)
    assert line == "train stage2 · 24 of 31 jobs · 412 of 685 steps · 4 min left"


def test_what_is_not_known_is_not_said() -> None:
    assert progress_line(run_of(31, 24, DagJob(1, "report")), {}, None) == "report · 24 of 31 jobs"
    assert (
        progress_line(DagRun(), {}, None, status="Building DAG of jobs") == "Building DAG of jobs"
    )


def test_on_a_narrow_terminal_the_time_left_stays() -> None:
    run = run_of(31, 24, DagJob(1, "train", ("stage2",)))
    inner = {1: JobProgress(412, 685, 200.0, 0.0)}
    wide = progress_line(run, inner, 236.0, columns=64)
    assert wide == "train stage2 · 24 of 31 jobs · 412 of 685 steps · 4 min left"
    narrow = progress_line(run, inner, 236.0, columns=60)
    assert narrow == "train stage2 · 24 of 31 jobs · 4 min left"


def test_jobs_of_one_rule_are_counted_together() -> None:
    jobs = [DagJob(k, "score_clips", (f"{k:04d}",)) for k in range(2)]
    run = run_of(9, 0, *jobs, DagJob(7, "train_clip"))
    inner = {
        0: JobProgress(3, 10, 1.0, 0.0),
        1: JobProgress(4, 20, 1.0, 0.0),
        7: JobProgress(1, 2, 1.0, 0.0),
    }
    line = progress_line(run, inner, None)
    assert line == "score_clips x2, train_clip · 0 of 9 jobs · 7 of 30 clips"


def test_failed_jobs_stand_in_the_line() -> None:
    run = run_of(3, 1, DagJob(1, "report"))
    run.fail(2, JobFailure("a", "a 2", "why", ""))
    assert progress_line(run, {}, None) == "report · 1 of 3 jobs · 1 failed"


def test_a_job_that_ends_has_a_line_of_its_own() -> None:
    job = DagJob(1, "train", ("stage1",))
    line = finished_line(run_of(31, 24), job, 192.0, 420.0)
    assert line == "24 of 31 jobs · train stage1 in 3 min 12 s · 7 min left"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0.0, "10 s left"),
        (31.0, "40 s left"),
        (56.0, "1 min left"),
        (236.0, "4 min left"),
        (4800.0, "80 min left"),
        (6000.0, "1 h 40 min left"),
    ],
)
def test_time_left_is_rounded(seconds: float | None, words: str) -> None:
    assert left_words(seconds) == words


def test_a_line_never_wraps() -> None:
    assert fit_width("a" * 79, 80) == "a" * 79
    assert fit_width("a" * 80, 80) == "a" * 78 + "…"


def test_the_end_says_what_became_of_the_run() -> None:
    assert ending(run_of(31, 31), 1060.0) == "31 jobs done in 17 min 40 s"
    failed = run_of(31, 24)
    failed.fail(2, JobFailure("a", "a 2", "why", ""))
    assert ending(failed, 60.0) == (
        "1 of 31 jobs failed, 24 done, 6 not run, in 60 s; when it is mended, the same command"
        " continues"
    )
    stopped = run_of(31, 24)
    stopped.stopping = True
    assert ending(stopped, 60.0) == (
        "stopped after 60 s: 24 of 31 jobs done; the same command continues"
    )
