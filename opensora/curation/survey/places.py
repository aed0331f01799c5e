"""Which of the files that are here the paths of a table mean, and from which folder they start."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import pandas as pd

from opensora.core.errors import TableError
from opensora.tables.io import read_head, read_table

HEAD_ROWS = 20_000  # of a table that is too large to be read as a whole
_LARGEST_TABLE = 64 << 20  # bytes of one that is
_LOOKED_UP = 1000  # paths by which the folder is found


@dataclass(frozen=True)
class Named:
    """Files that a table names.

    Attributes:
        root: folder that its paths start in; "" the working folder, None the table's own.
        files: as they were found.
    """

    root: str | None
    files: frozenset[str]


class Places:
    """Files by their names.

    Args:
        files: all that there are.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._by_place = {os.path.abspath(path): path for path in files}
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in files:
            self._by_name[os.path.basename(path)].append(os.path.normpath(path))

    def named(self, table: str, names: Sequence[str]) -> Named:
        """What a table's paths name: from its own folder, or else from the one that fits most."""
        own = self._from(os.path.dirname(table), names)
        if own:
            return Named(None, own)
        roots: Counter[str] = Counter()
        for name in islice(names, _LOOKED_UP):
            if (tail := os.path.normpath(str(name))) != os.curdir:
                roots.update(self._roots(tail))
        if not roots:
            return Named(None, frozenset())
        root = min(roots, key=lambda place: (-roots[place], place))
        return Named(root, self._from(root, names))

    def _roots(self, tail: str) -> Iterable[str]:
        for path in self._by_name.get(os.path.basename(tail), []):
            if path == tail:
                yield ""
            elif path.endswith(os.sep + tail):
                yield path[: -len(tail)].rstrip(os.sep) or os.sep

    def _from(self, root: str, names: Iterable[str]) -> frozenset[str]:
        root = os.path.abspath(root)
        places = (os.path.normpath(os.path.join(root, str(name))) for name in names)
        return frozenset(self._by_place[place] for place in places if place in self._by_place)


def rows_of(table: str) -> tuple[pd.DataFrame | None, bool]:
    """The rows of a table, and whether they are all; of a large one the first, None of no table."""
    try:
        if os.path.getsize(table) <= _LARGEST_TABLE:
            return read_table(table), True
        return read_head(table, HEAD_ROWS), False
    except (TableError, OSError):
        return None, True
