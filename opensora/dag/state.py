"""What is known of a run: which jobs wait, run, are done or have failed."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePath

from opensora.dag.failure import JobFailure


@dataclass(frozen=True)
class DagJob:
    """A job that was started.

    Attributes:
        number: Snakemake's id of it.
        rule: name of its rule.
        wildcards: their values, as ("stage2", "0003").
        outputs: files that it makes; none for a target such as `train_all`.
        logs: its log files, as the rule writes them.
        benchmark: file in which Snakemake records its time; "" for none.
        threads: cores that it takes.
        started: seconds since the epoch.
    """

    number: int
    rule: str
    wildcards: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    benchmark: str = ""
    threads: int = 1
    started: float = 0.0

    @property
    def name(self) -> str:
        """As people call it: `train stage2`."""
        return " ".join((self.rule, *self.wildcards))

    @property
    def record(self) -> str:
        """Its name among the records of its rule: `stage1/0003`; "" where it has none.

        The workflow keeps records as benchmarks/{rule}/{run}/{record}.tsv.
        """
        return PurePath(*self._record_parts[3:]).with_suffix("").as_posix() if self.run else ""

    @property
    def run(self) -> str:
        """The run that it belongs to; "" where its record does not say."""
        return self._record_parts[2] if self._record_parts[1:2] == (self.rule,) else ""

    @property
    def _record_parts(self) -> tuple[str, ...]:
        parts = PurePath(self.benchmark).parts
        return parts if len(parts) > 3 else ()


@dataclass
class DagRun:
    """A run of the DAG.

    Attributes:
        counts: rule -> jobs of this run.
        follows: rule -> rules whose outputs it reads; itself, where its jobs form a chain.
        cores: that the jobs share; 0 where nobody said.
        started: seconds since the epoch.
        running: id -> job.
        finished: jobs that ended well, with their seconds.
        failed: id -> what is known of a job that failed.
        stopping: whether the user asked to stop.
    """

    counts: dict[str, int] = field(default_factory=dict)
    follows: dict[str, set[str]] = field(default_factory=dict)
    cores: int = 0
    started: float = 0.0
    running: dict[int, DagJob] = field(default_factory=dict)
    finished: list[tuple[DagJob, float]] = field(default_factory=list)
    failed: dict[int, JobFailure] = field(default_factory=dict)
    stopping: bool = False

    @property
    def total(self) -> int:
        """All jobs of this run."""
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        """Jobs that ended well."""
        return len(self.finished)

    def waiting(self) -> dict[str, int]:
        """Rule -> jobs that have not been started."""
        started = Counter(job.rule for job in self.running.values())
        started.update(job.rule for job, _ in self.finished)
        started.update(failure.rule for failure in self.failed.values())
        left = {rule: number - started[rule] for rule, number in self.counts.items()}
        return {rule: number for rule, number in left.items() if number > 0}

    def start(self, job: DagJob) -> None:
        """A job begins, perhaps once more."""
        self.failed.pop(job.number, None)
        self.running[job.number] = job

    def finish(self, number: int, now: float) -> tuple[DagJob, float] | None:
        """A job ended well; gives it and its seconds, None for one that was not seen to begin."""
        job = self.running.pop(number, None)
        if job is None:
            return None
        self.finished.append((job, now - job.started))
        return self.finished[-1]

    def fail(self, number: int, failure: JobFailure) -> None:
        """A job failed."""
        self.running.pop(number, None)
        self.failed[number] = failure
