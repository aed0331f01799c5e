"""The state of a run: every job waits, runs, is done or has failed."""

from opensora.dag.failure import JobFailure
from opensora.dag.state import DagJob, DagRun


def test_a_job_knows_its_record() -> None:
    job = DagJob(1, "encode_videos", benchmark="benchmarks/encode_videos/demo/stage1/0003.tsv")
    assert (job.run, job.record) == ("demo", "stage1/0003")
    for path in ("", "times.tsv", "benchmarks/other/demo/0003.tsv"):
        job = DagJob(1, "encode_videos", benchmark=path)
        assert (job.run, job.record) == ("", "")


def test_every_job_is_counted_once() -> None:
    run = DagRun(counts={"a": 3, "b": 1})
    assert run.waiting() == {"a": 3, "b": 1}
    for number in (1, 2):
        run.start(DagJob(number, "a", started=10.0))
    assert run.waiting() == {"a": 1, "b": 1}
    ended = run.finish(1, 14.0)
    assert ended is not None
    assert ended[1] == 4.0
    run.fail(2, JobFailure("a", "a 2", "why", ""))
    assert run.waiting() == {"a": 1, "b": 1}
    assert (run.done, run.total, len(run.failed), len(run.running)) == (1, 4, 1, 0)


def test_a_job_that_is_tried_again_has_not_failed() -> None:
    run = DagRun(counts={"a": 1})
    run.start(DagJob(1, "a"))
    run.fail(1, JobFailure("a", "a", "why", ""))
    run.start(DagJob(1, "a"))
    assert not run.failed
    assert run.waiting() == {}


def test_an_unknown_job_changes_nothing() -> None:
    run = DagRun(counts={"a": 1})
    assert run.finish(7, 1.0) is None
    assert run.done == 0
