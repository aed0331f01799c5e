"""Time that a run still needs, from Snakemake's benchmark files of earlier runs.

There is an estimate only where every job that is left has a ground: its own record, those of its
rule, the table of the demo, or jobs of its rule that this run has finished.
"""

import csv
import heapq
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from statistics import mean

from opensora.dag.display.job_progress import JobProgress
from opensora.dag.explain import recorded_seconds
from opensora.dag.state import DagJob, DagRun

DEMO_TABLE = Path(__file__).with_name("demo_seconds.csv")
DEMO_CONFIG = "configs/workflow/demo.yaml"
_TARGET = re.compile(r"(\w+_)?all")  # public targets only gather files
# so many seconds count as if they had gone as recorded: short jobs say little about a machine
_PRIOR_S = 30.0
# a job may take this much longer than expected before nothing is known about it any more
_SLACK_S, _SLACK = 10.0, 0.5


@dataclass
class Records:
    """What jobs took before.

    Attributes:
        seconds: rule -> name of a record (`stage1/0003`) -> seconds.
        threads: rule -> cores that a job of it took.
    """

    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    threads: dict[str, int] = field(default_factory=dict)

    def of(self, job: DagJob) -> float | None:
        """What this job took, else the mean of its rule."""
        known = self.seconds.get(job.rule, {})
        return known.get(job.record, mean(known.values()) if known else None)


def read_records(folder: str | Path, run: str, config: str = "") -> Records:
    """Read the records of the earlier runs of a run.

    Args:
        folder: Snakemake's benchmark files, {rule}/{run}/{record}.tsv.
        run: name of the run.
        config: the workflow config; what the demo does not find comes from its shipped table.
    """
    records = read_demo_seconds(DEMO_TABLE)
    if not PurePath(config).match(DEMO_CONFIG):
        records.seconds = {}
    for place in Path(folder).glob(f"*/{run}"):
        own = {
            path.relative_to(place).with_suffix("").as_posix(): mean(times)
            for path in sorted(place.rglob("*.tsv"))
            if (times := recorded_seconds(path))
        }
        records.seconds.setdefault(place.parent.name, {}).update(own)
    return records


def read_demo_seconds(path: Path) -> Records:
    """Read a table with the columns rule, record, seconds, threads."""
    records = Records()
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            records.seconds.setdefault(row["rule"], {})[row["record"]] = float(row["seconds"])
            records.threads[row["rule"]] = int(row["threads"])
    return records


def time_left(
    run: DagRun, records: Records, inner: Mapping[int, JobProgress], now: float
) -> float | None:
    """Seconds until the run ends; None where there is no ground for a number.

    Args:
        run: the run.
        records: what jobs took before.
        inner: id of a running job -> its own progress.
        now: seconds since the epoch.
    """
    if not run.cores or run.done == run.total:
        return None
    if run.failed or run.stopping:  # what can still run is open
        return None
    pace = _pace(run, records)
    running = []
    for job in run.running.values():
        left = _running_left(run, job, records, inner.get(job.number), pace, now)
        if left is None:
            return None
        running.append((left, job.rule, min(job.threads, run.cores)))
    waiting = {}
    for rule, number in run.waiting().items():
        seconds = _waiting_seconds(run, rule, records, pace)
        if seconds is None:
            return None
        waiting[rule] = Waiting(number, seconds, min(_threads(run, rule, records), run.cores))
    # nothing left but what is due at any moment: no number to name
    return simulate(running, waiting, run.follows, run.cores) or None


@dataclass
class Waiting:
    """Jobs of one rule that have not begun.

    Attributes:
        number: how many.
        seconds: of each.
        threads: of each.
    """

    number: int
    seconds: float
    threads: int


def simulate(
    running: Iterable[tuple[float, str, int]],
    waiting: Mapping[str, Waiting],
    follows: Mapping[str, set[str]],
    cores: int,
) -> float:
    """Run the jobs that are left on paper: each as soon as its cores and what it reads are there.

    A rule begins when the rules that it reads have ended, although Snakemake knows better: a job
    begins when its own inputs are there.

    Args:
        running: seconds left, rule and threads of each job that runs.
        waiting: rule -> its other jobs.
        follows: rule -> rules whose outputs it reads; itself, where its jobs form a chain.
        cores: that all share.

    Returns:
        Seconds until the last job ends.
    """
    ends = list(running)
    heapq.heapify(ends)
    active = Counter(rule for _, rule, _ in ends)
    free = cores - sum(threads for _, _, threads in ends)
    left = {rule: jobs.number for rule, jobs in waiting.items()}
    clock = 0.0
    while ends or any(left.values()):
        unfinished = {rule for rule, number in left.items() if number} | set(+active)
        open_rules = [rule for rule in waiting if left[rule]]
        ready = [
            rule for rule in open_rules if not (follows.get(rule, set()) - {rule}) & unfinished
        ]
        if not ready and not ends:  # rules that read each other: any of them
            ready = open_rules
        for rule in ready:
            is_chain, jobs = rule in follows.get(rule, ()), waiting[rule]
            while left[rule] and jobs.threads <= free and not (is_chain and active[rule]):
                left[rule] -= 1
                active[rule] += 1
                free -= jobs.threads
                heapq.heappush(ends, (clock + jobs.seconds, rule, jobs.threads))
        clock, ended, threads = heapq.heappop(ends)
        active[ended] -= 1
        free += threads
    return clock


def _pace(run: DagRun, records: Records) -> float:
    """Seconds of this run for each recorded one."""
    pairs = [(seconds, records.of(job)) for job, seconds in run.finished]
    known = [(seconds, before) for seconds, before in pairs if before is not None]
    actual = sum(seconds for seconds, _ in known)
    return (actual + _PRIOR_S) / (sum(before for _, before in known) + _PRIOR_S)


def _of_this_run(run: DagRun, rule: str) -> float | None:
    times = [seconds for job, seconds in run.finished if job.rule == rule]
    return mean(times) if times else None


def _running_left(
    run: DagRun, job: DagJob, records: Records, inner: JobProgress | None, pace: float, now: float
) -> float | None:
    if _TARGET.fullmatch(job.rule):
        return 0.0
    if inner is not None:
        return inner.seconds_left(now)
    recorded = records.of(job)
    expected = _of_this_run(run, job.rule) if recorded is None else recorded * pace
    if expected is None:
        return None
    left = expected - (now - job.started)
    return None if left < -max(_SLACK_S, _SLACK * expected) else max(0.0, left)


def _waiting_seconds(run: DagRun, rule: str, records: Records, pace: float) -> float | None:
    """Expected time of one job of a rule that has not begun."""
    if _TARGET.fullmatch(rule):
        return 0.0
    known = records.seconds.get(rule)
    if not known:
        return _of_this_run(run, rule)
    begun = {job.record for job, _ in run.finished} | {job.record for job in run.running.values()}
    others = [seconds for name, seconds in known.items() if name not in begun]
    return mean(others or known.values()) * pace


def _threads(run: DagRun, rule: str, records: Records) -> int:
    seen = [job.threads for job in run.running.values() if job.rule == rule]
    seen += [job.threads for job, _ in run.finished if job.rule == rule]
    return seen[-1] if seen else records.threads.get(rule, 1)
