"""What is known of each file by its path, size and time of change: nothing is probed twice.

A JSON line is added as soon as a file is probed, so an interrupted ingest goes on where it was;
the finished one keeps the lines of the files that are there, so that the next looks at new and
changed files only.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from opensora.core.errors import OpenSoraError
from opensora.core.guard import UNEXPECTED
from opensora.core.io import atomic_path
from opensora.core.versions import VERSIONS

# of a file that may do better next time although it stays the same
_PASSING = frozenset({"missing", "unreadable", "crashed", "timeout", "out_of_memory", UNEXPECTED})

Key = tuple[str, int, int]  # path, bytes, nanoseconds


def key_of(path: str) -> Key | None:
    """Key of a regular file, None of anything else."""
    if not os.path.isfile(path):
        return None
    facts = os.stat(path)
    return path, facts.st_size, facts.st_mtime_ns


class Journal:
    """Rows of probed files, on disk.

    Attributes:
        rows: key -> row, of this and of earlier runs.
    """

    def __init__(self, path: Path) -> None:
        """Read what an earlier run left; lines of another version or cut off are not used."""
        self.path = path
        self.rows: dict[Key, dict[str, Any]] = {}
        self._file: TextIO | None = None
        if path.is_file():
            self._read()

    def add(self, key: Key, row: dict[str, Any]) -> None:
        """Remember a row.

        Raises:
            OpenSoraError: it can not be written.
        """
        if row["status"] in _PASSING:
            return
        self.rows[key] = row
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("a", encoding="utf-8")
                self._file.write("\n")  # ends a line that was cut off
            self._file.write(_line(key, row))
            self._file.flush()
        except OSError as error:
            raise OpenSoraError(
                f"{self.path}: could not be written ({error.strerror or error}); free the disk,"
                " then run the same command again"
            ) from error

    def finish(self, keys: Iterable[Key]) -> None:
        """Keep the rows of these files only."""
        wanted = set(keys)
        forgotten = [key for key in self.rows if key not in wanted]
        if self._file is None and not forgotten:
            return  # nothing is new
        self.close()
        for key in forgotten:
            del self.rows[key]
        with atomic_path(self.path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(_line(key, row) for key, row in sorted(self.rows.items()))

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> None:
        with self.path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # cut off when the run was stopped
                if entry.get("version") == VERSIONS["ingest_videos"]:
                    path, size, mtime_ns = entry["key"]
                    self.rows[path, size, mtime_ns] = entry["row"]


def _line(key: Key, row: dict[str, Any]) -> str:
    entry = {"version": VERSIONS["ingest_videos"], "key": key, "row": row}
    return json.dumps(entry) + "\n"
