"""Scores that were computed before, by clip and scorer: a file per scorer and part of the data."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opensora.core.errors import OpenSoraError
from opensora.core.io import read_json, write_json
from opensora.core.versions import VERSIONS
from opensora.scorers.base import Scorer


class ScoreCache:
    """Rows of one scorer, kept by what a score depends on: clip bytes, and caption if it is read.

    Version and weights of the scorer are part of the file's name, so a new version starts anew and
    an old one stays usable.

    Args:
        folder: of all caches.
        name: registered name of the scorer.
        scorer: whose weights count.
        part: file name, such as the shard's; jobs that run at once need parts of their own.
    """

    def __init__(self, folder: Path, name: str, scorer: Scorer, part: str) -> None:
        weights = hashlib.sha256(scorer.identity().encode()).hexdigest()[:12]
        self._path = folder / f"{name}-{VERSIONS[name]}-{weights}" / f"{part}.json"
        self._needs_text = scorer.needs_text
        self._rows: dict[str, dict[str, Any]] = {}
        if self._path.is_file():
            try:
                self._rows = read_json(self._path)
            except OpenSoraError:  # a damaged cache is an empty one
                self._rows = {}
        self._new = 0

    def get(self, clip: Mapping[Any, Any], text: str) -> dict[str, Any] | None:
        """The row of a clip, if it was scored before."""
        return self._rows.get(self._key(clip, text))

    def put(self, clip: Mapping[Any, Any], text: str, row: Mapping[str, Any]) -> None:
        """Keep a row."""
        self._rows[self._key(clip, text)] = dict(row)
        self._new += 1

    def save(self) -> None:
        """Write the file, if there is something new."""
        if self._new:
            write_json(self._path, self._rows)

    def _key(self, clip: Mapping[Any, Any], text: str) -> str:
        words = hashlib.sha256(text.encode()).hexdigest()[:16] if self._needs_text else ""
        return f"{clip['sha256']}{words}"
