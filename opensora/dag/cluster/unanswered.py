"""A look at jobs that SLURM does not answer says nothing of them: they are looked at again."""

from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial, wraps
from typing import Any

_MARK = "_keeps_unanswered_jobs"


def keep_unanswered_jobs(executor: Any) -> None:
    """Let an executor keep the jobs that a look at them said nothing of.

    An executor yields what still runs and reports what has ended. The one of SLURM (2.8) does
    neither where none of its questions was answered, as while the controller is away, and
    Snakemake then waits for jobs of which nobody asks again.

    Args:
        executor: class of it, which is changed in place; once is enough.
    """
    if getattr(executor, _MARK, False):
        return
    look = executor.check_active_jobs

    @wraps(look)
    async def look_and_keep(self: Any, active_jobs: Iterable[Any]) -> AsyncIterator[Any]:
        jobs, told = list(active_jobs), set[int]()

        def tell(report: Callable[..., None], job: Any, *words: Any, **named: Any) -> None:
            told.add(id(job))
            report(job, *words, **named)

        names = ("report_job_success", "report_job_error")
        for name in names:
            setattr(self, name, partial(tell, getattr(self, name)))
        try:
            async for job in look(self, jobs):
                told.add(id(job))
                yield job
        finally:
            for name in names:
                delattr(self, name)  # the method of the class is there again
        for job in jobs:
            if id(job) not in told:
                yield job

    executor.check_active_jobs = look_and_keep
    setattr(executor, _MARK, True)
