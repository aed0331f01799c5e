"""Jobs that a look said nothing of are looked at again; all others are told once."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest
from snakemake_executor_plugin_slurm import Executor

from opensora.dag.cluster.unanswered import keep_unanswered_jobs


class Asks:
    """Stands for an executor: `runs` jobs still run, `ended` and `failed` ones are reported."""

    answers = True

    def __init__(self) -> None:
        self.reported: list[tuple[str, str]] = []

    def report_job_success(self, job: str) -> None:
        self.reported.append(("success", job))

    def report_job_error(self, job: str, msg: str = "") -> None:
        self.reported.append((msg, job))

    async def check_active_jobs(self, active_jobs: Iterable[str]) -> AsyncIterator[str]:
        for job in active_jobs if self.answers else ():
            if job == "ended":
                self.report_job_success(job)
            elif job == "failed":
                self.report_job_error(job, msg="why")
            else:
                yield job


JOBS = ["ended", "runs", "failed"]


@pytest.mark.parametrize(
    ("answers", "left", "reported"),
    [(True, ["runs"], [("success", "ended"), ("why", "failed")]), (False, JOBS, [])],
)
def test_what_was_not_told_is_asked_again(
    answers: bool, left: list[str], reported: list[tuple[str, str]]
) -> None:
    class Kept(Asks):
        pass

    for _ in range(2):  # the second time changes nothing
        keep_unanswered_jobs(Kept)
    asks = Kept()

    async def look(jobs: list[str]) -> list[str]:
        return [job async for job in asks.check_active_jobs(jobs)]

    asks.answers = answers
    assert asyncio.run(look(JOBS)) == left
    assert asks.reported == reported
    asks.answers = True
    assert asyncio.run(look(["ended"])) == []
    assert asks.reported == [*reported, ("success", "ended")]


def test_the_executor_of_slurm_has_what_is_changed() -> None:
    for name in ("check_active_jobs", "report_job_success", "report_job_error"):
        assert callable(getattr(Executor, name))
