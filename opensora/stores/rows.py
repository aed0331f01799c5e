"""Rows by key in a folder that many jobs and runs share: what was computed once stays known.

A part is what one job looks up, such as a shard. Its rows stand in files `{part}-{hash}.jsonl`, a
key and a row of JSON per line, each written aside and renamed. Nobody changes a file, so jobs that
meet at a part, also on two nodes, both succeed; a part of many small files is joined.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from opensora.core.io import write_text

log = logging.getLogger(__name__)

MAX_FILES = 16  # of a part, before they are joined
_DIGITS = 16  # of a hash in the name of a file
SECONDS = 30.0  # between two files: what a killed job loses at most


class RowStore:
    """The rows of one part.

    Args:
        folder: of everything whose keys mean the same; made when it is needed.
        part: what the file names begin with.
    """

    def __init__(self, folder: Path, part: str) -> None:
        self._folder, self._part = folder, part
        self._rows, self._files = self._read()
        self._new: dict[str, dict[str, Any]] = {}
        self._written = time.monotonic()

    def get(self, key: str) -> dict[str, Any] | None:
        """The row of a key, if it is known."""
        return self._rows.get(key)

    def put(self, key: str, row: Mapping[str, Any]) -> None:
        """Keep a row of JSON values; the first row of a key stays."""
        if key not in self._rows:
            self._rows[key] = self._new[key] = dict(row)
        if time.monotonic() - self._written > SECONDS:
            self.save()

    def save(self) -> None:
        """Write what is new."""
        if self._new:
            self._files.append(self._write(self._new))
            self._new = {}
        if len(self._files) > MAX_FILES:
            self._join()
        self._written = time.monotonic()

    def _read(self) -> tuple[dict[str, dict[str, Any]], list[Path]]:
        rows: dict[str, dict[str, Any]] = {}
        files = []
        for path in sorted(self._folder.glob(f"{self._part}-*.jsonl")):
            try:
                found = _parsed(path)
            except FileNotFoundError:
                continue  # joined by another job meanwhile: its rows are computed again at worst
            except (OSError, ValueError, TypeError) as error:
                log.warning("store file left out path=%s error=%s", path, error)
                continue
            rows = {**found, **rows}
            files.append(path)
        return rows, files

    def _write(self, rows: Mapping[str, Mapping[str, Any]]) -> Path:
        return _write_rows(self._folder, self._part, rows)

    def _join(self) -> None:
        """One file in place of those that are known; others may have come and stay."""
        joined = self._write(self._rows)
        for path in self._files:
            if path != joined:
                path.unlink(missing_ok=True)
        self._files = [joined]


def rows_of_files(store: Path, is_meant: Callable[[str], bool]) -> dict[Path, int]:
    """How many rows each file has whose keys are meant; files that can not be read have none.

    Args:
        store: of folders of files.
        is_meant: says so of a key.
    """
    counts = {path: sum(map(is_meant, _rows_in(path))) for path in sorted(store.glob("*/*.jsonl"))}
    return {path: count for path, count in counts.items() if count}


def remove_rows(path: Path, is_meant: Callable[[str], bool]) -> None:
    """Write a file anew without some rows, then remove it."""
    left = {key: row for key, row in _rows_in(path).items() if not is_meant(key)}
    if left:
        _write_rows(path.parent, path.stem.rpartition("-")[0], left)
    path.unlink(missing_ok=True)


def _parsed(path: Path) -> dict[str, dict[str, Any]]:
    """Rows of a file; its name holds a hash of its text.

    Raises:
        OSError, ValueError, TypeError: it is not what was written.
    """
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest()[:_DIGITS] != path.stem.rpartition("-")[2]:
        raise ValueError("not what was written")
    return dict(json.loads(line) for line in data.decode().splitlines())


def _rows_in(path: Path) -> dict[str, dict[str, Any]]:
    try:
        return _parsed(path)
    except (OSError, ValueError, TypeError):
        return {}


def _write_rows(folder: Path, part: str, rows: Mapping[str, Mapping[str, Any]]) -> Path:
    lines = (json.dumps(entry, sort_keys=True) + "\n" for entry in sorted(rows.items()))
    text = "".join(lines)
    name = f"{part}-{hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]}.jsonl"
    write_text(folder / name, text)
    return folder / name
