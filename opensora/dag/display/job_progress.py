"""How far a running job is, from the progress lines at the end of its log."""

import os
import re
import time
from dataclasses import dataclass

from opensora.dag.state import DagJob

_TAIL_BYTES = 1 << 15
# what `core.logging.progress` writes
_LINE = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) \w+ opensora\.progress"
    r" (.+) done=(\d+)/(\d+) seconds=(\d+)$",
    re.M,
)
# rule -> name of its work on the progress lines, where that is not the rule's
_WORK = {
    "sample": "sample batches",
    "sample_part": "sample batches",
    "score_captions": "score_clips",
}


@dataclass(frozen=True)
class JobProgress:
    """Progress inside a job.

    Attributes:
        done: items that are through.
        total: all items.
        seconds: time for those that are through.
        written: when this was so, in seconds since the epoch.
    """

    done: int
    total: int
    seconds: float
    written: float

    def seconds_left(self, now: float) -> float:
        """Time for the other items, at the same speed."""
        ahead = (self.total - self.done) * self.seconds / max(1, self.done)
        return max(0.0, ahead - max(0.0, now - self.written))


def read_job_progress(job: DagJob) -> JobProgress | None:
    """Read the newest progress line of a job; None where it has written none."""
    for path in job.logs:
        try:
            # the log of a former run stands there until the command starts
            if os.stat(path).st_mtime < int(job.started):
                continue
            with open(path, "rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - _TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            continue
        work = _WORK.get(job.rule, job.rule)
        lines = [found for found in _LINE.finditer(text) if found[2] == work]
        if lines:
            clock, _, done, total, seconds = lines[-1].groups()
            written = time.mktime(time.strptime(clock, "%Y-%m-%d %H:%M:%S"))
            if written >= int(job.started):
                return JobProgress(int(done), int(total), float(seconds), written)
    return None
