"""What our workflow costs Snakemake beside a bare one of the same shape, in the same run."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from opensora.bench.bare_workflow import BARE
from opensora.bench.measure import machine
from opensora.core.errors import ConfigError, OpenSoraError
from opensora.core.terminal import align, short

_TOTAL = re.compile(r"^total\s+(\d+)", re.M)
_TRIGGERS = ("--rerun-triggers", "mtime", "params", "input")
# as the SLURM plugin calls Snakemake inside a job, but that nothing is run
_JOB = (
    *("--target-jobs", "detect_scenes:shard=0000", "--allowed-rules", "detect_scenes"),
    *("--mode", "remote", "--force", "--attempt", "1", "--nolock", "--ignore-incomplete"),
    *("--no-hooks", "--target-files-omit-workdir-adjustment"),
    *("--max-inventory-time", "0"),
)


@dataclass(frozen=True)
class Cost:
    """What one call of Snakemake took.

    Attributes:
        cpu_s: user and system time of it and what it started, s.
        wall_s: time until its end, s.
        memory_bytes: largest resident memory of a process.
        jobs: that it announced.
    """

    cpu_s: float
    wall_s: float
    memory_bytes: int
    jobs: int


def bench_dag(
    shards: Sequence[int], *, repository: Path, files: int, repeats: int
) -> dict[str, Any]:
    """Dry runs and job starts of ours and of the bare workflow, in turns.

    Args:
        shards: numbers of shards to try.
        repository: folder of the Snakefile.
        files: input videos; they are a few bytes each and are not opened by a dry run's jobs.
        repeats: timings of each; the median counts.

    Returns:
        `dry_runs` and `job_starts`: for each number of shards `shards`, `ours`, `bare` (fields of
        Cost); and `machine`.

    Raises:
        ConfigError: no Snakefile there.
        OpenSoraError: Snakemake fails, or the two have not the same number of jobs.
    """
    if not (repository / "Snakefile").is_file():
        raise ConfigError(f"{repository}: no Snakefile; run this in the folder of the workflow")
    found: dict[str, Any] = {"machine": machine(), "dry_runs": [], "job_starts": []}
    for count in shards:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            calls = _prepare(folder, repository, count, files)
            # the first lists the videos, as the run does whose jobs are measured then
            dry = _in_turns(calls, ("--dry-run", "--quiet", "rules", "--", "all"), repeats)
            if dry["ours"].jobs != dry["bare"].jobs:
                raise OpenSoraError(
                    f"ours has {dry['ours'].jobs} jobs and the bare workflow {dry['bare'].jobs};"
                    " bring opensora/bench/bare_workflow.py to the rules of today"
                )
            start = _in_turns(calls, (*_JOB, "--dry-run", "--quiet", "all"), repeats)
        for key, pair in (("dry_runs", dry), ("job_starts", start)):
            found[key].append({"shards": count} | {who: asdict(c) for who, c in pair.items()})
    return found


def dag_report(found: dict[str, Any]) -> str:
    """Lay the figures out for a terminal."""
    head = ("", "shards", "jobs", "bare CPU s", "ours", "ratio", "difference", "bare", "ours MB")
    rows = []
    for key, title in (("dry_runs", "snakemake -n"), ("job_starts", "start of a job")):
        for row in found[key]:
            ours, bare = row["ours"], row["bare"]
            cells = [title, str(row["shards"]), str(ours["jobs"])]
            cells += [f"{bare['cpu_s']:.2f}", f"{ours['cpu_s']:.2f}"]
            cells += [f"{ours['cpu_s'] / bare['cpu_s']:.2f}", f"{_more(row):.2f} s"]
            cells += [short(cost["memory_bytes"], "B") for cost in (bare, ours)]
            rows.append(cells)
    return f"{found['machine']}\n{align(head, rows)}"


def dag_summary(found: dict[str, Any]) -> str:
    """One line: the largest ratio of dry runs, the largest difference of job starts."""
    ratio = max(row["ours"]["cpu_s"] / row["bare"]["cpu_s"] for row in found["dry_runs"])
    more = max(_more(row) for row in found["job_starts"])
    return f"a dry run takes {ratio:.2f} times a bare one's CPU, a job starts {more:.2f} s later"


def _more(row: dict[str, Any]) -> float:
    return float(row["ours"]["cpu_s"] - row["bare"]["cpu_s"])


def _prepare(folder: Path, repository: Path, shards: int, files: int) -> dict[str, list[str]]:
    """Write inputs, config and the bare workflow; returns how to call each of both."""
    (folder / "videos").mkdir()
    for number in range(files):
        (folder / f"videos/{number:06d}.mp4").write_bytes(b"%d" % number)
    (folder / "prompts.txt").write_text("a red box\n")
    (folder / "bare.smk").write_text(BARE)
    config = yaml.safe_load((repository / "configs/workflow/demo.yaml").read_text())
    del config["demo"]
    config |= {"run": "bench", "videos": ["videos"], "num_shards": shards}
    config["sample"]["prompts"] = "prompts.txt"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    base = [sys.executable, "-m", "snakemake", "--directory", str(folder), "--cores", "1"]
    base += [*_TRIGGERS, "--notemp", "--nocolor"]  # as the profiles have it
    ours = ["--snakefile", str(repository.absolute() / "Snakefile")]
    return {
        "ours": [*base, *ours, "--configfile", str(folder / "config.yaml")],
        "bare": [
            *base,
            *("--snakefile", str(folder / "bare.smk"), "--config", f"num_shards={shards}"),
        ],
    }


def _in_turns(calls: dict[str, list[str]], words: Sequence[str], repeats: int) -> dict[str, Cost]:
    """Call ours and bare, one after the other, several times; the one of median CPU time counts."""
    taken: dict[str, list[Cost]] = {who: [] for who in calls}
    for _ in range(repeats):
        for who, call in calls.items():
            taken[who].append(_call([*call, *words]))
    middle = {who: median(cost.cpu_s for cost in costs) for who, costs in taken.items()}
    return {
        who: min(costs, key=lambda cost, who=who: abs(cost.cpu_s - middle[who]))  # type: ignore[misc]
        for who, costs in taken.items()
    }


def _call(words: Sequence[str]) -> Cost:
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(words, stdout=said, stderr=said, stdin=subprocess.DEVNULL)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - begin
        said.seek(0)
        text = said.read().decode(errors="replace")
    if process.returncode:
        last = text.strip().splitlines() or ["without a word"]
        raise OpenSoraError(f"snakemake ended with {process.returncode}: {last[-1]}")
    total = _TOTAL.search(text)
    jobs = int(total[1]) if total else 0
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024, jobs)
