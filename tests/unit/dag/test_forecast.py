"""Time of a run that never ran: from the demo's jobs, the footage, and what waits for what."""

from collections import Counter

import pytest

from opensora.dag.dry_run import PlannedJob, with_shards
from opensora.dag.estimate import DEMO_TABLE, read_demo_seconds
from opensora.dag.forecast import forecast_s


def test_jobs_follow_each_other_and_share_cores() -> None:
    jobs = [PlannedJob("detect_scenes", [f"scenes{k}"]) for k in range(4)]
    jobs += [PlannedJob("build_manifest", ["m"], [f"scenes{k}" for k in range(4)])]
    demo = read_demo_seconds(DEMO_TABLE).seconds["build_manifest"]["all"]
    footage = {"detect_scenes": 80.0}
    # four jobs of 1 + 20 s, then the one that reads them
    assert forecast_s(jobs, footage, clips=0, cores=1) == pytest.approx(4 * 21 + demo)
    assert forecast_s(jobs, footage, clips=0, cores=2) == pytest.approx(2 * 21 + demo)


def test_two_shards_tell_the_jobs_of_all() -> None:
    jobs = [PlannedJob("ingest", wildcards={"shard": f"000{k}"}) for k in range(2)]
    jobs += [PlannedJob("score", wildcards={"shard": f"000{k}", "s": "flow"}) for k in (1, 0)]
    jobs += [PlannedJob("train", wildcards={"stage": "one"}), PlannedJob("report")]
    made = Counter(job.rule for job in with_shards(jobs, 400))
    assert made == {"ingest": 400, "score": 400, "train": 1, "report": 1}
    assert with_shards(jobs[-2:], 7) == jobs[-2:]


def test_encoding_grows_with_clips() -> None:
    jobs = [PlannedJob("encode_videos", ["a"])]
    few, many = (forecast_s(jobs, {}, clips=clips, cores=2) for clips in (830, 8300))
    assert many - 1 == pytest.approx(10 * (few - 1))
