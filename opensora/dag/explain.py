"""What a workflow would run, why, and how long it would take."""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from opensora.core.terminal import align
from opensora.dag.dry_run import PlannedJob
from opensora.dag.identity import changes, recorded_identities

_FOLLOWS = "Input files updated by another job: "
# how Snakemake begins a reason -> what the table says in its place
_REASONS = (
    ("Missing output files: ", "output is missing"),
    ("Incomplete output files: ", "output is incomplete"),
    ("Updated input files: ", "input changed: "),
    ("Set of input files has changed", "inputs were added or removed"),
    ("Code has changed", "code changed"),
    ("Params have changed since last execution: ", "settings changed: "),
    ("Software environment definition has changed", "software environment changed"),
    ("Forced execution", "forced"),
)
_PARAMS = re.compile(r".*?before: (?P<old>.*) now: (?P<new>.*)", re.S)
_NO_VALUE = "<nothing exclusive>"
_EARLIER = "made by an earlier version, which did not record its settings by name"
_MAX_FOLLOWED = 4  # rules named as those that another one follows
_MAX_REASON = 110  # characters of a reason in the table
_HEAD = ("rule", "jobs", "shards", "why", "time", "GPU-hours")
_LEFT = ("shards", "why")


@dataclass(frozen=True)
class Explanation:
    """Jobs of one rule that would run for the same reason.

    Attributes:
        rule: name of the rule.
        why: its reason, for people.
        jobs: how many.
        shards: their shards, or other wildcards; "" where there is one job.
        seconds: expected time of all jobs together; only of those with a record.
        unknown: jobs whose rule has no record.
        gpu_hours: seconds times GPUs, in hours.
    """

    rule: str
    why: str
    jobs: int
    shards: str
    seconds: float
    unknown: int
    gpu_hours: float


def explain_jobs(jobs: Sequence[PlannedJob], folder: str | Path = ".") -> list[Explanation]:
    """Group jobs by rule and reason and estimate their time from the records of former runs."""
    maker = {path: job.rule for job in jobs for path in job.outputs}
    groups: dict[tuple[str, str], list[PlannedJob]] = {}
    order = {rule: k for k, rule in enumerate(dict.fromkeys(job.rule for job in jobs))}
    for job in sorted(jobs, key=lambda job: order[job.rule]):
        groups.setdefault((job.rule, _why(job, maker)), []).append(job)
    past: dict[str, list[float]] = {}
    found = []
    for (rule, why), members in groups.items():
        times = [_expected_seconds(job, Path(folder), past) for job in members]
        known = [(time, job.gpus) for time, job in zip(times, members, strict=True) if time >= 0]
        found.append(
            Explanation(
                rule=rule,
                why=why,
                jobs=len(members),
                shards=_spans(" ".join(job.wildcards.values()) for job in members),
                seconds=sum(time for time, _ in known),
                unknown=len(members) - len(known),
                gpu_hours=sum(time * gpus for time, gpus in known) / 3600,
            )
        )
    return found


def explanation_table(found: Sequence[Explanation]) -> str:
    """The explanations as lines of aligned columns; "" where there are none."""
    if not found:
        return ""
    return align(_HEAD, map(_cells, found), left=_LEFT)


def explanation_summary(found: Sequence[Explanation]) -> str:
    """One line about all of it."""
    if not found:
        return "nothing to run, everything is up to date"
    jobs, unknown = sum(entry.jobs for entry in found), sum(entry.unknown for entry in found)
    rules = len({entry.rule for entry in found})
    words = [f"{count(jobs, 'job')} of {count(rules, 'rule')}"]
    if unknown < jobs:
        words.append(f"about {duration(sum(entry.seconds for entry in found))} of work")
    if hours := sum(entry.gpu_hours for entry in found):
        words.append(f"{hours:.2f} GPU-hours")
    if unknown:
        words.append(f"{count(unknown, 'job')} without a record")
    return ", ".join(words)


def recorded_seconds(path: Path) -> list[float]:
    """Seconds in one of Snakemake's benchmark files; empty where it holds none."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [float(row["s"]) for row in csv.DictReader(file, delimiter="\t")]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def count(number: int, word: str) -> str:
    """`1 job`, `1,200 jobs`."""
    return f"{number} {word}" if number == 1 else f"{number:,} {word}s"


def duration(seconds: float) -> str:
    """`49 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 6000:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _why(job: PlannedJob, maker: dict[str, str]) -> str:
    """Reasons of the job's own; only where there are none, the rules that it follows."""
    own, follows = [], False
    for part in re.split(r"; (?=[A-Z])", job.reason):
        follows = follows or part.startswith(_FOLLOWS)
        for start, words in _REASONS:
            if part.startswith(start):
                own.append(_phrase(words, part.removeprefix(start), job.wildcards))
    if own or not follows:
        return " and ".join(own) or job.reason or "not said"
    before = list(dict.fromkeys(maker[path] for path in job.inputs if path in maker))
    named = before if len(before) <= _MAX_FOLLOWED else before[: _MAX_FOLLOWED - 1]
    others = [f"{len(before) - len(named)} more"] if named != before else []
    return "follows " + ", ".join([*named, *others])


def _phrase(words: str, rest: str, wildcards: dict[str, str]) -> str:
    """Put a reason into words that are the same for all jobs that have it."""
    if not words.endswith(": "):
        return words
    if found := _PARAMS.fullmatch(rest):
        return _shorten(_what_changed(words, found["old"].strip(), found["new"].strip()))
    for name, value in wildcards.items():
        rest = rest.replace(value, f"{{{name}}}")
    return _shorten(words + rest)


def _what_changed(words: str, old: str, new: str) -> str:
    """Name the settings that differ, where both runs recorded them by name."""
    before, now = recorded_identities(old), recorded_identities(new)
    if now and not before:
        return _EARLIER
    found = changes(before[0], now[0]) if before and now else []
    if not found:  # a word of the command line alone
        return words + " -> ".join(text.replace(_NO_VALUE, "nothing") for text in (old, new))
    settings = [text for text in found if " -> " in text]
    events = [text for text in found if " -> " not in text]
    return " and ".join([*events, *([words + ", ".join(settings)] if settings else [])])


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 3] + "..."


def _expected_seconds(job: PlannedJob, folder: Path, past: dict[str, list[float]]) -> float:
    """What the job took last time, else the mean of its rule's jobs, else -1."""
    if not job.benchmark:
        return -1
    own = recorded_seconds(folder / job.benchmark)
    if own:
        return mean(own)
    if job.rule not in past:
        depth = len(Path(job.benchmark).parts) - 3  # benchmarks/{rule}/{run}/...
        root = (folder / job.benchmark).parents[max(0, depth)]
        past[job.rule] = [
            time for path in sorted(root.rglob("*.tsv")) for time in recorded_seconds(path)
        ]
    return mean(past[job.rule]) if past[job.rule] else -1


def _spans(names: Iterable[str]) -> str:
    """Names in short: runs of numbers become `0000-0007`."""
    runs: list[list[str]] = []
    for name in sorted(filter(None, names)):
        last = runs[-1][-1] if runs else ""
        if name.isdigit() and last.isdigit() and int(name) == int(last) + 1:
            runs[-1].append(name)
        else:
            runs.append([name])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _cells(entry: Explanation) -> tuple[str, ...]:
    time = duration(entry.seconds) if entry.unknown < entry.jobs else "unknown"
    if 0 < entry.unknown < entry.jobs:
        time = f"over {time}"
    hours = f"{entry.gpu_hours:.2f}" if entry.gpu_hours else ""
    return (entry.rule, str(entry.jobs), entry.shards, entry.why, time, hours)
