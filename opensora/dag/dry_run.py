"""The jobs that Snakemake would run, read from its dry run."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opensora.core.errors import ConfigError, OpenSoraError
from opensora.dag.early import ONLY_EXPLAINS

_JOB = re.compile(r"(?:local)?(rule|checkpoint) (\w+):")
_FIELD = re.compile(r"    (input|output|jobid|benchmark|reason|wildcards|resources): ?(.*)")
_OTHER_FIELD = re.compile(r"    (log|priority|threads): ?")
_TOTAL = re.compile(r"^total +(\d+)$", re.M)


@dataclass
class PlannedJob:
    """One job that the workflow would run.

    Attributes:
        rule: name of its rule.
        outputs: files that it makes.
        inputs: files that it reads.
        reason: why, in Snakemake's words.
        wildcards: name -> value, as shard -> 0003.
        benchmark: file in which Snakemake records its time.
        gpus: GPUs that it asks for.
    """

    rule: str
    outputs: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    reason: str = ""
    wildcards: dict[str, str] = field(default_factory=dict)
    benchmark: str = ""
    gpus: int = 0


def dry_run(
    config: str | Path,
    *,
    target: str = "all",
    snakefile: str | Path = "Snakefile",
    folder: str | Path = ".",
    num_shards: int | None = None,
) -> list[PlannedJob]:
    """Ask Snakemake what it would run, without running it.

    Args:
        config: a workflow config (YAML).
        target: a public target such as `train_all`, or a file.
        snakefile: the workflow; `profiles/local` beside it says what makes a job run again.
        folder: where the results, and the records of former runs, lie.
        num_shards: in place of the config's, as two for a quick look at any number.

    Returns:
        The jobs that make something, in the order of the pipeline; empty when all is up to date.

    Raises:
        ConfigError: a file is missing, or the workflow refuses the config or the target.
        OpenSoraError: Snakemake's answer could not be read.
    """
    for name, path in (("workflow config", Path(config)), ("Snakefile", Path(snakefile))):
        if not path.is_file():
            raise ConfigError(f"{path}: no such {name}; run this in the folder of the workflow")
    profile = Path(snakefile).absolute().parent / "profiles/local"
    command = [
        *(sys.executable, "-m", "snakemake", "--dry-run", "--nocolor"),
        *("--snakefile", str(snakefile), "--profile", str(profile)),
        *("--directory", str(folder), "--configfile", str(config)),
        *(["--config", f"num_shards={num_shards}"] if num_shards else []),
        *("--", target),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        env={**os.environ, ONLY_EXPLAINS: "1"},
    )
    if done.returncode:
        raise ConfigError(f"{config}: {_complaint(done.stdout + done.stderr)}")
    return parse_dry_run(done.stdout)


def with_shards(jobs: Sequence[PlannedJob], number: int) -> list[PlannedJob]:
    """The jobs of a run that never ran, with another number of shards: those of one, so often.

    Args:
        jobs: of a dry run with any number of shards.
        number: how many there are to be.
    """
    first = min((job.wildcards["shard"] for job in jobs if "shard" in job.wildcards), default="")
    times = {first: number}
    return [
        job
        for job in jobs
        for _ in range(times.get(job.wildcards["shard"], 0) if "shard" in job.wildcards else 1)
    ]


def parse_dry_run(output: str) -> list[PlannedJob]:
    """Read the jobs that make something from the output of `snakemake --dry-run`.

    Raises:
        OpenSoraError: the number of jobs is not the one that Snakemake announces.
    """
    jobs: list[PlannedJob] = []
    fields: dict[str, str] = {}
    last = ""
    for line in output.splitlines():
        if start := _JOB.fullmatch(line):
            fields, last = {}, ""
            jobs.append(PlannedJob(start[2]))
        elif jobs and (found := _FIELD.fullmatch(line)):
            last = found[1]
            fields[last] = found[2]
            _fill(jobs[-1], last, found[2])
        elif _OTHER_FIELD.match(line) or not line.startswith(" "):
            last = ""
        elif last:  # a value with a line break in it
            fields[last] += f"\n{line}"
            _fill(jobs[-1], last, fields[last])
    totals = _TOTAL.findall(output)
    if int(totals[0] if totals else 0) != len(jobs):
        raise OpenSoraError(
            f"snakemake announces {totals[0] if totals else 'no'} jobs and describes {len(jobs)};"
            " run `snakemake --dry-run` yourself to see them"
        )
    return [job for job in jobs if job.outputs]


def _fill(job: PlannedJob, name: str, value: str) -> None:
    if name in ("input", "output"):
        setattr(job, f"{name}s", value.split(", "))
    elif name in ("reason", "benchmark"):
        setattr(job, name, value)
    elif name == "wildcards":
        job.wildcards = dict(part.split("=", 1) for part in value.split(", ") if "=" in part)
    elif name == "resources" and (gpus := re.search(r"\bgpu=(\d+)", value)):
        job.gpus = int(gpus[1])


def _complaint(output: str) -> str:
    """The sentence in which Snakemake says what is wrong."""
    lines = [line for line in output.splitlines() if line and not line.startswith((" ", "Using"))]
    for k, line in enumerate(lines[:-1]):
        if re.match(r"\w+(Error|Exception)\b", line) and not line.startswith("Traceback"):
            return lines[k + 1].partition(" (if you use input functions")[0]
    return lines[-1] if lines else "snakemake failed without a word"
