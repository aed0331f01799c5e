"""Pictures and videos of the page: the report holds them itself, so that it can be moved.

Tables name the files, and a table may come from anybody: only files of the run are taken.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

VIDEOS = frozenset({".mp4", ".webm"})
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif"})
OUTSIDE = "not shown: outside the run"
GONE = "file not found"


class Media:
    """The folder of media of a report that is being written.

    Attributes:
        folder: where files are put.
        address: how the page names that folder, relative to itself.
    """

    def __init__(self, folder: Path, address: str) -> None:
        """Begin with an empty folder."""
        self.folder, self.address = folder, address
        self._made: dict[str, str] = {}

    def take(self, file: Path, places: Sequence[Path]) -> tuple[str, str]:
        """Put a picture or video into the report.

        It is linked where the disk lets it, so that samples take no room twice.

        Args:
            file: as a table names it.
            places: resolved folders in which it may lie once its links are followed.

        Returns:
            Its address in the page, "" where it is not shown, and why not.
        """
        if not is_inside(file, places):
            return "", OUTSIDE
        suffix = file.suffix.lower()
        if suffix not in VIDEOS | PICTURES or not file.is_file():
            return "", GONE
        source = file.resolve()
        name = hashlib.sha256(os.fsencode(source)).hexdigest()[:20] + suffix
        if name not in self._made:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, self.folder / name)
            except OSError:  # another disk, or one without links
                shutil.copyfile(source, self.folder / name)
            self._made[name] = f"{self.address}/{name}"
        return self._made[name], ""

    def put(self, content: bytes, suffix: str) -> str:
        """Write a file that was made for the report, as a poster; returns its address."""
        name = hashlib.sha256(content).hexdigest()[:20] + suffix
        if name not in self._made:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(content)
            self._made[name] = f"{self.address}/{name}"
        return self._made[name]


def is_inside(file: Path, places: Sequence[Path]) -> bool:
    """Whether a file lies in one of the folders, which are resolved, once its links are followed.

    One that can not be followed, as a link to itself, does not.
    """
    try:
        resolved = file.resolve()
    except (OSError, RuntimeError, ValueError):
        return False
    return any(resolved.is_relative_to(place) for place in places)
