"""Clips that came out of archives, and videos that were fetched, of which no run has a use now.

    unpacked/{sha256[:2]}/{sha256}.mp4   clips of archives
    unpacked/archives/{name}.json        rows of one archive: without them it is read again
    fetched/{source}/{name}              videos of a list of addresses

An archive stays whole while a run names one of its clips, for it is read as a whole.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

from opensora.core.errors import StoreError, TableError
from opensora.stores.runs import Results, table_files
from opensora.stores.sweep import ABANDONED_S, YOUNG_S, Unnamed, last_write
from opensora.tables.columns import PATH
from opensora.tables.io import read_table

UNPACKED, FETCHED = "unpacked", "fetched"
_ARCHIVES = "archives"
# tables of a run that name clips, and videos
_CLIPS = ("manifest", "imported/*/manifest")
_VIDEOS = ("fetched", "ingest")


def find_unused(results: Results) -> list[Unnamed]:
    """What of both no table of any run names; nothing is changed.

    Raises:
        StoreError: a table can not be read.
    """
    now = time.time()
    clips, videos = _named(results, _CLIPS), _named(results, _VIDEOS)
    unpacked, fetched = Unnamed(UNPACKED), Unnamed(FETCHED)
    folder = results.store / UNPACKED
    spared, notes = _archives(folder / _ARCHIVES, clips)
    for path in _files(folder):
        is_note = path.parent.name == _ARCHIVES
        is_named = path not in notes if is_note else path.name in clips | spared
        if not is_named and not path.name.startswith("."):
            _take(unpacked, path, now)
    for path in _files(results.store / FETCHED):
        if path.name not in videos and not path.name.startswith("."):
            _take(fetched, path, now)
    for found, place in ((unpacked, folder), (fetched, results.store / FETCHED)):
        for path in _left(place):
            if now - last_write(path) > ABANDONED_S:
                found.add(path)
    return [unpacked, fetched]


def _named(results: Results, patterns: tuple[str, ...]) -> set[str]:
    """The names of the files that tables of runs name; each holds a hash."""
    found: set[str] = set()
    for run in results.runs:
        for folder in (place for pattern in patterns for place in sorted(run.glob(pattern))):
            for path in table_files(folder):
                try:
                    names = read_table(path, columns=[PATH])[PATH]
                except (TableError, KeyError) as error:
                    raise StoreError(
                        f"run {run.name}: {path} can not be read, so that it is unknown what it"
                        " names, and nothing is freed; delete it and run its rule again, or remove"
                        " the run"
                    ) from error
                found |= {Path(name).name for name in names if name}
    return found


def _archives(folder: Path, named: set[str]) -> tuple[set[str], set[Path]]:
    """Names of the clips of archives of which a run names one; notes of those that none names."""
    spared: set[str] = set()
    unused: set[Path] = set()
    for note in sorted(folder.glob("*.json")):
        try:
            rows = json.loads(note.read_text(encoding="utf-8"))
            names = {Path(row[PATH]).name for row in rows if row["sha256"]}
        except (OSError, ValueError, KeyError, TypeError):
            names = set()  # cut off: whoever reads the archive writes it anew
        if names & named:
            spared |= names
        else:
            unused.add(note)
    return spared, unused


def _take(found: Unnamed, path: Path, now: float) -> None:
    if now - last_write(path) < YOUNG_S:
        found.young += 1
    else:
        found.add(path)


def _files(folder: Path) -> Iterator[Path]:
    """The files one folder below, without links."""
    if folder.is_symlink():
        return
    for place in sorted(folder.glob("*/")):
        if not place.is_symlink() and not place.name.startswith("."):
            yield from (
                path for path in sorted(place.iterdir()) if path.is_file() and not path.is_symlink()
            )


def _left(folder: Path) -> Iterator[Path]:
    """What a job had not finished: scratch folders, and parts of downloads."""
    if not folder.is_symlink():
        yield from sorted(folder.glob(".scratch-*"))
        yield from (path for path in sorted(folder.glob("*/.*.part")) if not path.is_symlink())
