"""Clips that turn out to be unreadable while a run trains on them."""

from collections.abc import Iterable
from threading import Lock
from typing import NamedTuple

import pandas as pd

from opensora.plans.settle_plan import require_few
from opensora.tables.columns import DETAIL, ID


class Reject(NamedTuple):
    """One clip and why it can not be read; the fields are columns of REJECTED."""

    id: str
    path: str
    reason: str
    detail: str


class Rejects:
    """The unreadable clips that are known so far; any number of threads may add some.

    Of several reasons for one clip the first in their order counts, so that what is known does not
    depend on who looked first.

    Args:
        num_clips: distinct clips of the plan.
        max_rejected: largest share of them.
    """

    def __init__(self, num_clips: int, max_rejected: float) -> None:
        self._num_clips = num_clips
        self._max_rejected = max_rejected
        self._known: dict[str, Reject] = {}
        self._fresh: list[Reject] = []
        self._lock = Lock()

    def add(self, found: Reject) -> None:
        """Take in one that was met here.

        Raises:
            ConfigError: it is one too many.
        """
        with self._lock:
            if self._know(found):
                self._fresh.append(found)
        self.require_few()

    def take(self) -> list[Reject]:
        """Those that were met here since the last call."""
        with self._lock:
            fresh, self._fresh = self._fresh, []
        return fresh

    def merge(self, found: Iterable[Reject]) -> None:
        """Take in what other processes met."""
        with self._lock:
            for reject in found:
                self._know(reject)

    def require_few(self) -> None:
        """Refuse more than the share that is allowed.

        Raises:
            ConfigError: names count, share, reasons and the setting.
        """
        if len(self._known) <= self._max_rejected * self._num_clips:
            return
        rows = [(reject.id, reject.reason, reject.detail) for reject in self.rows()]
        table = pd.DataFrame(rows, columns=[ID, "reason", DETAIL])
        require_few(table, self._num_clips, self._max_rejected)

    def rows(self) -> list[Reject]:
        """All of them, by id."""
        with self._lock:
            return sorted(self._known.values())

    def _know(self, found: Reject) -> bool:
        known = self._known.get(found.id)
        if known is None or found < known:
            self._known[found.id] = found
            return True
        return False
