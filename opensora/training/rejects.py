"""`rejected.csv` of a run: clips that it met and could not read, from all its processes."""

import logging
from pathlib import Path

import pandas as pd

from opensora.acceleration.workers import Workers
from opensora.datasets.rejects import Reject, Rejects
from opensora.tables.columns import DETAIL, ID, PATH, REJECTED
from opensora.tables.io import read_table, write_table

log = logging.getLogger(__name__)

FILE = "rejected.csv"
_STAGE = "train"


class RejectedClips:
    """Keeps the processes of a run of one mind about unreadable clips, and the table on disk.

    All processes make one and call `share` at the same steps.

    Args:
        rejects: what this process meets.
        path: the table, written by the main process.
        workers: the processes of the run.
        resumes: whether the table is that of this run.

    Raises:
        ConfigError: together they are too many.
    """

    def __init__(self, rejects: Rejects, path: Path, workers: Workers, *, resumes: bool) -> None:
        self._rejects, self._path, self._workers = rejects, path, workers
        former: list[Reject] = []
        if workers.is_main:
            if resumes and path.is_file():
                table = read_table(path, REJECTED)[[ID, PATH, "reason", DETAIL]]
                former = [Reject(*row) for row in table.itertuples(index=False, name=None)]
            else:
                path.unlink(missing_ok=True)
        self._shared = {reject.id for reject in former}
        rejects.merge(workers.gather(former)[0])
        rejects.require_few()

    def share(self) -> None:
        """Tell the others what this process met, and write the table where there is news.

        Raises:
            ConfigError: together they are too many.
        """
        found = [reject for part in self._workers.gather(self._rejects.take()) for reject in part]
        self._rejects.merge(found)
        if found and self._workers.is_main:
            for reject in sorted({reject.id: reject for reject in found}.values()):
                if reject.id not in self._shared:
                    log.warning("clip_rejected id=%s reason=%s detail=%r", reject.id,
                                reject.reason, reject.detail)  # fmt: skip
            self._shared |= {reject.id for reject in found}
            write_rejected(self._path, self._rejects.rows())
        self._rejects.require_few()

    def rows(self) -> list[Reject]:
        """All unreadable clips, by id."""
        return self._rejects.rows()


def write_rejected(path: Path, rows: list[Reject]) -> None:
    """Write a REJECTED table; of no clips it has only its columns."""
    table = pd.DataFrame(rows, columns=[ID, PATH, "reason", DETAIL])
    write_table(table.assign(stage=_STAGE)[list(REJECTED.columns)], path, REJECTED)
