"""What tells a file from others without reading it whole: its size and its first and last bytes.

A listing keeps that by path, size and time of change, so that each file is opened once.
"""

import functools
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from opensora.core.io import atomic_path

_BYTES = 4096  # looked at on either end
_DIGITS = 16

Key = tuple[str, int, int]  # path, bytes, nanoseconds


def mark_of(path: str) -> str:
    """Mark of a file's size and ends, equal for files of equal content; its name where none is."""
    key = _key_of(path)
    return _name_mark(path) if key is None else _read_mark(*key)


class Listing:
    """Marks of files, kept in a JSON-lines file between runs; none is a cache of this process.

    Args:
        path: of the file; it may not exist yet. Damaged lines are passed over.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[Key, str] = {}
        if path is not None and path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    name, size, mtime_ns, mark = json.loads(line)
                except ValueError:
                    continue
                self._known[name, size, mtime_ns] = mark

    def marks(self, paths: Iterable[str]) -> dict[str, str]:
        """Marks of files, of which only new and changed ones are opened; then the file is written.

        Marks of other files, which another run may use, are kept as long as the files are there.
        """
        found, is_new = {}, False
        for path in paths:
            key = _key_of(path)
            if key is None:
                found[path] = _name_mark(path)
                continue
            if key not in self._known:
                self._known[key], is_new = _read_mark(*key), True
            found[path] = self._known[key]
        if is_new and self._path is not None:
            self._write(self._path)
        return found

    def _write(self, path: Path) -> None:
        lines = [
            json.dumps([*key, mark]) + "\n"
            for key, mark in sorted(self._known.items())
            if _key_of(key[0]) == key
        ]
        try:
            with atomic_path(path) as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")
        except OSError:
            pass  # a folder that can only be read: the files are opened again next time


def _key_of(path: str) -> Key | None:
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return path, facts.st_size, facts.st_mtime_ns


def _name_mark(path: str) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:_DIGITS]


@functools.lru_cache(maxsize=1 << 16)
def _read_mark(path: str, size: int, mtime_ns: int) -> str:
    """Mark by the content; by the size alone of what can not be read."""
    digest = hashlib.sha256(f"{size} bytes".encode())
    try:
        if os.path.isfile(path):  # to open a pipe may wait for ever
            with open(path, "rb") as file:
                digest.update(file.read(_BYTES))
                file.seek(max(0, size - _BYTES))
                digest.update(file.read(_BYTES))
    except OSError:
        pass
    return digest.hexdigest()[:_DIGITS]
