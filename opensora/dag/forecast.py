"""How long a run will take that never ran before: the demo's times, and what its footage costs."""

from collections import Counter
from collections.abc import Mapping, Sequence

from opensora.dag.dry_run import PlannedJob
from opensora.dag.estimate import DEMO_TABLE, Waiting, read_demo_seconds, simulate

_DEMO_CLIPS = 830  # that the demo's jobs in its table worked on
_BY_CLIP = ("caption_clips", "score_captions", "encode_videos", "encode_captions")
_START_S = 1.0  # a job that does next to nothing
_UNKNOWN_S = 5.0  # a rule that the demo does not have


def forecast_s(
    jobs: Sequence[PlannedJob], footage_s: Mapping[str, float], *, clips: int, cores: int
) -> float:
    """Seconds until the last job ends, on a machine like that of docs/benchmarks.md.

    Args:
        jobs: those that would run.
        footage_s: rule -> seconds of one core that all of its jobs need for the footage.
        clips: that the run will have; 0 where that is not known.
        cores: that the run may use.
    """
    records = read_demo_seconds(DEMO_TABLE)
    numbers = Counter(job.rule for job in jobs)
    maker = {path: job.rule for job in jobs for path in job.outputs}
    follows: dict[str, set[str]] = {rule: set() for rule in numbers}
    for job in jobs:
        follows[job.rule] |= {maker[path] for path in job.inputs if path in maker}
    waiting = {}
    for rule, number in numbers.items():
        known = records.seconds.get(rule, {})
        seconds = sum(known.values()) / len(known) if known else _UNKNOWN_S
        if rule in footage_s:
            seconds = _START_S + footage_s[rule] / number
        elif rule in _BY_CLIP and clips:
            seconds = _START_S + sum(known.values()) * clips / _DEMO_CLIPS / number
        threads = min(records.threads.get(rule, 1), cores)
        waiting[rule] = Waiting(number, seconds, threads)
    return simulate([], waiting, follows, cores)
