"""The words of the display: one line about a run, and what stands at its end."""

import math
from collections import Counter
from collections.abc import Mapping

from opensora.dag.display.job_progress import JobProgress
from opensora.dag.explain import count, duration
from opensora.dag.state import DagJob, DagRun

_SEPARATOR = " · "
# rule -> what its progress counts
_ITEMS = {
    "make_demo": "files",
    "fetch": "files",
    "ingest_videos": "files",
    "detect_scenes": "videos",
    "split_clips": "clips",
    "score_clips": "clips",
    "score_captions": "clips",
    "train_vae": "steps",
    "train_clip": "steps",
    "train_text_encoder": "steps",
    "train": "steps",
    "sample": "batches",
    "sample_part": "batches",
}


def progress_line(
    run: DagRun,
    inner: Mapping[int, JobProgress],
    seconds_left: float | None,
    *,
    status: str = "",
    columns: int = 1000,
) -> str:
    """Stage, done of total, time left.

    As `train stage2 · 24 of 31 jobs · 412 of 685 steps · 4 min left`.

    Args:
        run: the run.
        inner: id of a running job -> its own progress.
        seconds_left: until the end; None is not shown.
        status: what happens while no job runs.
        columns: of the terminal; where they do not suffice, the progress inside the jobs goes.
    """
    failed = f"{len(run.failed)} failed" if run.failed else ""
    words = [_stage(run) or status, _jobs(run), failed, "", left_words(seconds_left)]
    short = _SEPARATOR.join(filter(None, words))
    words[3] = _inner_words(run, inner)
    line = _SEPARATOR.join(filter(None, words))
    return line if len(line) < columns else short


def finished_line(run: DagRun, job: DagJob, seconds: float, seconds_left: float | None) -> str:
    """A job that ended: `24 of 31 jobs · train stage1 in 3 min 12 s · 7 min left`."""
    words = [_jobs(run), f"{job.name} in {duration(seconds)}", left_words(seconds_left)]
    return _SEPARATOR.join(filter(None, words))


def ending(run: DagRun, seconds: float, is_counted: bool = True) -> str:
    """What became of a run.

    Args:
        run: the run.
        seconds: that it took.
        is_counted: whether Snakemake told which jobs ended well; it does not with `--quiet`.
    """
    total, took = count(run.total, "job"), duration(seconds)
    if run.stopping:
        done = f": {run.done} of {total} done" if is_counted else ""
        return f"stopped after {took}{done}; the same command continues"
    if not run.failed and (run.done == run.total or not is_counted):
        return f"{total} done in {took}"
    words = [f"{len(run.failed)} of {total} failed"]
    if is_counted:
        words.append(f"{run.done} done")
        if rest := run.total - run.done - len(run.failed):
            words.append(f"{rest} not run")
    return f"{', '.join(words)}, in {took}; when it is mended, the same command continues"


def left_words(seconds: float | None) -> str:
    """`40 s left`, `4 min left`, `1 h 20 min left`; "" for None."""
    if seconds is None:
        return ""
    if seconds < 55:
        return f"{max(10, 10 * math.ceil(seconds / 10))} s left"
    minutes = max(1, round(seconds / 60))
    if minutes < 100:
        return f"{minutes} min left"
    return f"{minutes // 60} h {minutes % 60:02d} min left"


def fit_width(line: str, columns: int) -> str:
    """Cut a line to the width of a terminal; a line that wraps can not be redrawn."""
    return line if len(line) < columns else line[: max(1, columns - 2)] + "…"


def _jobs(run: DagRun) -> str:
    return f"{run.done} of {count(run.total, 'job')}" if run.total else ""


def _stage(run: DagRun) -> str:
    """The rules that run, with their wildcards where one job of a rule runs."""
    jobs = {job.rule: job for job in run.running.values()}
    numbers = Counter(job.rule for job in run.running.values())
    return ", ".join(
        jobs[rule].name if number == 1 else f"{rule} x{number}" for rule, number in numbers.items()
    )


def _inner_words(run: DagRun, inner: Mapping[int, JobProgress]) -> str:
    """Progress inside the first rule that tells some, over its jobs that do."""
    counted = [job for job in run.running.values() if job.number in inner]
    if not counted:
        return ""
    rule = counted[0].rule
    parts = [inner[job.number] for job in counted if job.rule == rule]
    done, total = sum(part.done for part in parts), sum(part.total for part in parts)
    return f"{done} of {total} {_ITEMS.get(rule, '')}".rstrip()
