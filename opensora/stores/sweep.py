"""Free what of a store no index of any run names.

A data file of which an index names one row stays whole. What is younger than an hour stays too,
because the job that made it writes its index at its end. Links are not followed.
"""

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opensora.core.errors import StoreError
from opensora.stores.catalogue import IDENTITY_NAME
from opensora.stores.runs import CLIPS, EMBEDDINGS, KINDS, LATENTS, Place, Results

YOUNG_S = 3600.0  # a job may be about to write the index
ABANDONED_S = 24 * 3600.0  # a job that wrote nothing for so long was killed
_DAY_S = 24 * 3600.0
_DATA, _INDEX = ".safetensors", ".parquet"
_CLIP_SUFFIXES = (".mp4", ".png")
_FACTS = "facts"


@dataclass
class Unnamed:
    """Files of a kind that no index names.

    Attributes:
        kind: clips, latents or embeddings; "leftovers" of jobs that were killed.
        files: what counts: data files, clip files or leftovers.
        beside: files that go with them: index, facts, picture.
        young: how many stay because they are younger than an hour.
        num_bytes: of files and what is beside them.
        newest: when the newest of the files was written, seconds since the epoch.
    """

    kind: str
    files: list[Path] = field(default_factory=list)
    beside: list[Path] = field(default_factory=list)
    young: int = 0
    num_bytes: int = 0
    newest: float = 0.0

    def add(self, path: Path, beside: Sequence[Path] = ()) -> None:
        """Count a file and what goes with it."""
        self.files.append(path)
        self.beside += beside
        self.num_bytes += sum(map(_bytes, (path, *beside)))
        self.newest = max(self.newest, *map(last_write, (path, *beside)))

    def sentence(self, now: float) -> str:
        """What a person reads of it."""
        young = f", {self.young} younger than an hour stay" if self.young else ""
        if not self.files:
            return f"{self.kind}: none{young}"
        days = max(0.0, now - self.newest) / _DAY_S
        size = f"{len(self.files)} files, {self.num_bytes / 1e6:.1f} MB"
        return f"{self.kind}: {size}, the newest {days:.1f} days old{young}"


def find_unnamed(results: Results) -> list[Unnamed]:
    """What of the store no index names; nothing is changed.

    Raises:
        StoreError: a run goes on, an index can not be read, or there is none.
    """
    results.require_idle()
    now = time.time()
    store = results.store
    clips = results.named_clips()
    named = {kind: results.named(kind) for kind in (LATENTS, EMBEDDINGS)}
    if not clips and not any(named.values()):
        raise StoreError(
            f"{results.folder}: no run in it names a file of the store, as where another folder is"
            f" meant; nothing is freed; remove {store} where nobody needs it"
        )
    leftovers = Unnamed("leftovers")
    for kind in KINDS:
        for path in _leftovers(store / kind):
            if now - last_write(path) > ABANDONED_S:
                leftovers.add(path)
    return [
        _unnamed_clips(store / CLIPS, clips, now),
        *(_unnamed_files(store / kind, kind, places, now) for kind, places in named.items()),
        leftovers,
    ]


def free(results: Results, found: Iterable[Unnamed]) -> None:
    """Remove what was found, and the folders that it leaves empty.

    Raises:
        StoreError: a run goes on, or one is unfinished.
    """
    results.require_idle()
    if unfinished := results.unfinished():
        raise StoreError(
            f"{unfinished[0]}, so that it is unknown what it needs, and nothing is freed; finish"
            " the run, or remove that folder where nobody needs it"
        )
    for part in found:
        for path in sorted(part.beside, key=lambda path: path.suffix != _INDEX):
            path.unlink(missing_ok=True)  # the index first: nobody finds the rows any more
        for path in part.files:
            remove(path)
    for kind in KINDS:
        remove_empty(results.store / kind)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; a link itself."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_empty(folder: Path) -> None:
    """Remove the empty folders in one, and those that hold nothing but the name of an encoder."""
    for path in _folders(folder):
        for part in _folders(path):
            if not any(part.iterdir()):
                part.rmdir()
        left = list(path.iterdir())
        if all(file.name == IDENTITY_NAME for file in left):
            for file in left:
                file.unlink()
            path.rmdir()


def data_files(folder: Path) -> Iterator[tuple[Place, Path]]:
    """The data files, or indexes without one, of latents or embeddings."""
    for address in _folders(folder):
        for part in _folders(address):
            files = [file for file in part.iterdir() if _is_own(file)]
            for stem in sorted({file.stem for file in files}):
                path = part / f"{stem}{_DATA}"
                yield Place(address.name, part.name, path.name), path


def companions(path: Path) -> list[Path]:
    """What lies beside a data file."""
    files = (path.with_suffix(suffix) for suffix in (_INDEX, ".json", ".png"))
    return [file for file in files if file.is_file() and not file.is_symlink()]


def clip_files(folder: Path) -> Iterator[Path]:
    """The clip files of a store."""
    for part in _folders(folder):
        if part.name != _FACTS:
            yield from sorted(
                file
                for file in part.iterdir()
                if file.suffix in _CLIP_SUFFIXES and _is_own(file) and not file.is_symlink()
            )


def _unnamed_files(folder: Path, kind: str, named: set[Place], now: float) -> Unnamed:
    found = Unnamed(kind)
    for place, path in data_files(folder):
        if place in named or path.is_symlink():
            continue
        beside = companions(path)
        if now - max(map(last_write, (path, *beside))) < YOUNG_S:
            found.young += 1
        else:
            found.add(path, beside)
    return found


def _unnamed_clips(folder: Path, named: set[str], now: float) -> Unnamed:
    found = Unnamed(CLIPS)
    for path in clip_files(folder):
        if path.name in named:
            continue
        if now - last_write(path) < YOUNG_S:
            found.young += 1
        else:
            found.add(path)
    return found


def _leftovers(folder: Path) -> Iterator[Path]:
    """What a job had not finished: scratch folders, and files under another name than their own."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            continue
        if path.name.startswith("."):
            yield path
        elif path.is_dir():
            yield from (file for file in sorted(path.rglob("*")) if _is_left(file, path))


def _is_left(file: Path, folder: Path) -> bool:
    way = [folder / part for part in file.relative_to(folder).parents]
    if file.is_symlink() or not file.is_file() or any(part.is_symlink() for part in way):
        return False
    return not _is_own(file)


def _is_own(file: Path) -> bool:
    return not file.name.startswith(".") and file.suffix != ".aside" and file.is_file()


def _folders(folder: Path) -> Iterator[Path]:
    """Folders in one, without links; none where it is a link itself, or is not there."""
    if folder.is_symlink() or not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
        ]
    yield from (folder / name for name in sorted(names))


def last_write(path: Path) -> float:
    """When something was written into a file, or a folder, last; 0 where it is not there."""
    found = 0.0
    for each in (path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())):
        try:
            found = max(found, each.lstat().st_mtime)
        except OSError:  # it went away
            continue
    return found


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    found = 0
    for file in files:
        try:
            found += file.lstat().st_size if file.is_file() else 0
        except OSError:
            continue
    return found
