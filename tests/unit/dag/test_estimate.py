"""Time left rests on records, and is not said where there are none."""

import re
from pathlib import Path

import pytest

from opensora.dag.display.job_progress import JobProgress
from opensora.dag.estimate import (
    DEMO_TABLE,
    Records,
    Waiting,
    read_demo_seconds,
    read_records,
    simulate,
    time_left,
)
from opensora.dag.failure import JobFailure
from opensora.dag.state import DagJob, DagRun

REPOSITORY = Path(__file__).parents[3]


def record(folder: Path, name: str, seconds: float) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\n{seconds}\t0:00:00\n")


def job(number: int, rule: str, name: str = "", started: float = 0.0, threads: int = 1) -> DagJob:
    return DagJob(
        number,
        rule,
        benchmark=f"benchmarks/{rule}/own/{name}.tsv" if name else "",
        started=started,
        threads=threads,
    )


# simulate


@pytest.mark.parametrize(("cores", "expected"), [(1, 40.0), (2, 20.0), (3, 20.0), (4, 10.0)])
def test_jobs_share_the_cores(cores: int, expected: float) -> None:
    assert simulate([], {"a": Waiting(4, 10.0, 1)}, {}, cores) == expected


def test_a_job_waits_for_its_threads() -> None:
    # one core is busy for 5 s, then both serve the job that needs two
    assert simulate([(5.0, "a", 1)], {"b": Waiting(1, 10.0, 2)}, {}, 2) == 15.0


def test_a_rule_waits_for_what_it_reads() -> None:
    waiting = {"b": Waiting(1, 10.0, 1), "a": Waiting(1, 10.0, 1), "c": Waiting(1, 3.0, 1)}
    assert simulate([], waiting, {"b": {"a"}, "c": set()}, 4) == 20.0
    assert simulate([(7.0, "a", 1)], {"b": Waiting(1, 10.0, 1)}, {"b": {"a"}}, 4) == 17.0


def test_stages_that_follow_each_other_do_not_share() -> None:
    chain = {"train": {"train", "encode_videos"}}
    assert simulate([], {"train": Waiting(3, 10.0, 1)}, chain, 8) == 30.0
    assert simulate([(4.0, "train", 1)], {"train": Waiting(2, 10.0, 1)}, chain, 8) == 24.0


def test_rules_that_read_each_other_end_too() -> None:
    waiting = {"a": Waiting(1, 10.0, 1), "b": Waiting(1, 10.0, 1)}
    assert 10.0 <= simulate([], waiting, {"a": {"b"}, "b": {"a"}}, 2) <= 20.0


# grounds


def test_without_a_ground_nothing_is_said() -> None:
    run = DagRun(counts={"a": 2}, cores=1)
    assert time_left(run, Records(), {}, 0.0) is None
    assert time_left(run, Records({"b": {"0000": 10.0}}), {}, 0.0) is None
    assert time_left(run, Records({"a": {"0000": 10.0}}), {}, 0.0) == 20.0
    run.start(job(1, "b"))
    assert time_left(run, Records({"a": {"0000": 10.0}}), {}, 0.0) is None


def test_jobs_of_this_run_are_a_ground_for_their_rule() -> None:
    run = DagRun(counts={"a": 3}, cores=1)
    run.start(job(1, "a"))
    run.finish(1, 8.0)
    assert time_left(run, Records(), {}, 8.0) == 16.0


def test_targets_take_no_time() -> None:
    run = DagRun(counts={"a": 1, "all": 1, "train_all": 1}, cores=1)
    assert time_left(run, Records({"a": {"0000": 10.0}}), {}, 0.0) == 10.0


def test_a_job_has_its_own_record_and_the_others_share_the_rest() -> None:
    records = Records({"train": {"stage1": 100.0, "stage2": 300.0}})
    run = DagRun(counts={"train": 2}, cores=1, follows={"train": {"train"}})
    assert time_left(run, records, {}, 0.0) == 400.0
    run.start(job(1, "train", "stage1"))
    assert time_left(run, records, {}, 40.0) == pytest.approx(60 + 300)


def test_a_slow_machine_is_seen_from_the_jobs_that_are_done() -> None:
    records = Records({"a": {"0000": 300.0}, "b": {"all": 100.0}})
    run = DagRun(counts={"a": 1, "b": 1}, cores=1)
    run.start(job(1, "a", "0000"))
    run.finish(1, 600.0)
    # 30 s count as recorded: (600 + 30) / (300 + 30) of the recorded time
    assert time_left(run, records, {}, 600.0) == pytest.approx(100 * 630 / 330)


def test_progress_inside_a_job_beats_its_record() -> None:
    run = DagRun(counts={"a": 1}, cores=1)
    run.start(job(1, "a", "0000"))
    inner = {1: JobProgress(25, 100, 50.0, written=60.0)}
    assert time_left(run, Records({"a": {"0000": 70.0}}), inner, 60.0) == 150.0


def test_a_job_far_over_its_time_is_unknown() -> None:
    run = DagRun(counts={"a": 1, "b": 1}, cores=1)
    run.start(job(1, "a", "0000"))
    records = Records({"a": {"0000": 100.0}, "b": {"all": 20.0}})
    assert time_left(run, records, {}, 90.0) == pytest.approx(10 + 20)
    assert time_left(run, records, {}, 140.0) == pytest.approx(20)
    assert time_left(run, records, {}, 160.0) is None


def test_where_nothing_is_left_nothing_is_said() -> None:
    run = DagRun(counts={"a": 1, "all": 1}, cores=1)
    run.start(job(1, "a", "0000"))
    run.finish(1, 10.0)
    assert time_left(run, Records({"a": {"0000": 10.0}}), {}, 10.0) is None


def test_after_a_failure_or_a_stop_nothing_is_said() -> None:
    records = Records({"a": {"0000": 10.0}})
    run = DagRun(counts={"a": 2}, cores=1)
    run.fail(1, JobFailure("a", "a", "why", ""))
    assert time_left(run, records, {}, 0.0) is None
    assert time_left(DagRun(counts={"a": 2}, cores=1, stopping=True), records, {}, 0.0) is None
    assert time_left(DagRun(counts={"a": 2}, cores=0), records, {}, 0.0) is None


# records


def test_the_records_of_the_run_are_read(tmp_path: Path) -> None:
    record(tmp_path, "train/own/stage1.tsv", 12.5)
    record(tmp_path, "encode_videos/own/stage1/0003.tsv", 4.0)
    record(tmp_path, "train/other/stage1.tsv", 99.0)
    (tmp_path / "train/own/broken.tsv").write_text("s\nnot a number\n")
    records = read_records(tmp_path, "own", "configs/workflow/mine.yaml")
    assert records.seconds == {"train": {"stage1": 12.5}, "encode_videos": {"stage1/0003": 4.0}}
    assert records.threads["train"] == 2


def test_only_the_demo_has_the_shipped_table(tmp_path: Path) -> None:
    record(tmp_path, "train/demo/stage1.tsv", 12.5)
    demo = read_records(tmp_path, "demo", "/somewhere/configs/workflow/demo.yaml")
    assert demo.seconds["train"]["stage1"] == 12.5
    assert (
        demo.seconds["train"]["stage2"] == read_demo_seconds(DEMO_TABLE).seconds["train"]["stage2"]
    )
    for config in ("configs/workflow/mine.yaml", "demo.yaml", ""):
        assert read_records(tmp_path, "demo", config).seconds == {"train": {"stage1": 12.5}}


def test_the_shipped_table_knows_every_rule() -> None:
    text = "\n".join(path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk"))
    recorded = set(re.findall(r'f"benchmarks/(\w+)/', text))
    # not in a run of the demo
    elsewhere = {"fetch", "import_manifest", "import_scenes", "certify_resume", "sample_part"}
    elsewhere.add("compare_evaluations")
    assert set(read_demo_seconds(DEMO_TABLE).seconds) == recorded - elsewhere
