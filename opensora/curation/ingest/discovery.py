"""Find media files: in folders, by globs, in lists; and deal them out to shards."""

import glob
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from opensora.core.errors import TableError
from opensora.core.seed import stable_shard
from opensora.curation.ingest.ends import Listing, mark_of
from opensora.media.formats import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_media
from opensora.tables.columns import LICENCE, PATH

LIST_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl")
# of files that are passed over unopened: texts, tables, playlists, sound, archives, weights
NO_MEDIA_SUFFIXES = frozenset(
    {
        *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".parquet", ".md", ".xml", ".yaml", ".yml"),
        *(".srt", ".vtt", ".ass", ".sub", ".idx", ".m3u", ".m3u8", ".mpd", ".sdp", ".html", ".pdf"),
        *(".mp3", ".m4a", ".aac", ".wav", ".flac", ".ogg", ".oga", ".opus", ".wma", ".mka", ".ac3"),
        *(".zip", ".tar", ".gz", ".zst", ".7z", ".py", ".log", ".npy", ".npz", ".safetensors"),
    }
)
LICENCE_NAMES = (LICENCE, "license")  # of a list's column, the first that is there


class ListedShard(NamedTuple):
    """The files of a shard: a hash of names, sizes, times and licences, and their bytes."""

    hash: str
    bytes: int


@dataclass(frozen=True)
class FoundFiles:
    """Files to probe, and what was passed over.

    Attributes:
        files: path -> licence ("" where no list tells it), in the order of the inputs, sorted
            inside each folder, no file twice.
        unreadable: folders that could not be listed -> the system's reason.
        ignored: suffix -> number of files that are no media, by their suffix or their content.
    """

    files: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)

    def shard(self, number: int, num_shards: int, listing: Path | None = None) -> "FoundFiles":
        """Return the part that belongs to one shard; see `shards_of`."""
        shards = shards_of([*self.files, *self.unreadable], num_shards, listing)

        def mine(path: str) -> bool:
            return shards[path] == number

        files = {path: licence for path, licence in self.files.items() if mine(path)}
        unreadable = {path: reason for path, reason in self.unreadable.items() if mine(path)}
        return FoundFiles(files, unreadable, self.ignored)


def find_media(inputs: Sequence[str | Path]) -> FoundFiles:
    """List the files to probe.

    Args:
        inputs: folders (walked recursively), globs, single files, or lists (CSV, Parquet, JSON
            lines) with a column `path`, relative to the list's folder, and maybe `licence`.

    Raises:
        TableError: an input does not exist, or a list is not one.
    """
    found = FoundFiles()
    licences: dict[str, str] = {}
    for given in map(_plain, inputs):
        if os.path.isdir(given):
            _walk(given, licences, found)
        elif os.path.isfile(given) and given.lower().endswith(LIST_SUFFIXES):
            _read_list(given, licences)
        elif os.path.lexists(given):
            licences.setdefault(given, "")  # named by the user: gets a row whatever its suffix
        elif glob.has_magic(given):
            matches = sorted(glob.glob(given, recursive=True))
            if not matches:
                raise TableError(f"{given}: the pattern matches no file")
            for match in map(_plain, matches):
                if os.path.isdir(match):
                    _walk(match, licences, found)
                else:
                    _add_file(match, licences, found)
        else:
            raise TableError(f"{given}: no such file or folder")
    seen: set[str] = set()
    for path, licence in licences.items():
        place = os.path.abspath(path)
        if place not in seen:
            seen.add(place)
            found.files[path] = licence
    return found


def shard_of(path: str, num_shards: int) -> int:
    """The shard of a file: known without reading all of it, the same for files of equal content.

    It follows from the size and the first and last bytes, so that duplicates meet in one shard
    wherever they lie, and a new file changes no other shard. A file that is not there goes by its
    name.
    """
    return stable_shard(mark_of(legible_path(path)), num_shards)


def shards_of(paths: Sequence[str], num_shards: int, listing: Path | None = None) -> dict[str, int]:
    """The shard of each file, as `shard_of`.

    Args:
        paths: files, there or not.
        num_shards: number of shards.
        listing: file that keeps what is known of them: only new and changed ones are opened.
    """
    marks = Listing(listing).marks([legible_path(path) for path in paths])
    return {path: stable_shard(marks[legible_path(path)], num_shards) for path in paths}


def shard_listings(
    inputs: Sequence[str | Path],
    num_shards: int,
    *,
    beside: Sequence[str] = (),
    listing: Path | None = None,
) -> list[ListedShard]:
    """Hash names, sizes, times and licences of the files of each shard.

    A shard whose hash stays the same need not be ingested again.

    Args:
        inputs: see :func:`find_media`.
        num_shards: number of shards.
        beside: suffixes such as `.txt`; in place of the files themselves those of their names with
            these suffixes count, there or not, and those in capitals that are there.
        listing: see :func:`shards_of`.

    Raises:
        TableError: see :func:`find_media`.
    """
    found = find_media(inputs)
    shards = shards_of([*found.files, *found.unreadable], num_shards, listing)
    digests = [hashlib.sha256() for _ in range(num_shards)]
    sizes = [0] * num_shards
    in_capitals = _in_capitals({os.path.dirname(path) for path in found.files}, beside)
    for path, note in [*found.files.items(), *found.unreadable.items()]:
        digest = digests[shards[path]]
        stem = os.path.splitext(path)[0]
        capitals = in_capitals.get(stem, [])
        for name in [*(stem + suffix for suffix in beside), *capitals] or [path]:
            state, size = _state(name)
            digest.update(f"{legible_path(name)}\0{state}\0{note}\n".encode())
            sizes[shards[path]] += size
    return [
        ListedShard(digest.hexdigest()[:16], size)
        for digest, size in zip(digests, sizes, strict=True)
    ]


def _in_capitals(folders: Iterable[str], suffixes: Sequence[str]) -> dict[str, list[str]]:
    """Files by their path without its suffix, where that is one of some, but not in small letters.

    A folder that can not be listed has none.
    """
    found: dict[str, list[str]] = {}
    for folder in folders if suffixes else ():
        try:
            names = sorted(os.listdir(folder or os.curdir))
        except OSError:
            continue
        for stem, suffix in map(os.path.splitext, names):
            if suffix not in suffixes and suffix.lower() in suffixes:
                place = os.path.join(folder, stem)
                found.setdefault(place, []).append(place + suffix)
    return found


def _state(path: str) -> tuple[str, int]:
    """What changes with a file, and its bytes."""
    try:
        facts = os.stat(path)
    except OSError as error:
        return error.strerror or "unknown", 0
    state = f"{facts.st_size}\0{facts.st_mtime_ns}\0{stat.S_IMODE(facts.st_mode)}"
    return state, facts.st_size


def legible_path(path: str) -> str:
    """The path as a table can hold it: bytes that are not UTF-8 become U+FFFD."""
    return os.fsencode(path).decode(errors="replace")


def _walk(folder: str, licences: dict[str, str], found: FoundFiles) -> None:
    """Collect a folder's files, following links to folders but never into the same one twice."""
    visited: set[tuple[int, int]] = set()

    def note(error: OSError) -> None:
        found.unreadable[str(error.filename)] = error.strerror or str(error)

    files: list[str] = []
    for root, folders, names in os.walk(folder, followlinks=True, onerror=note):
        facts = os.stat(root)
        if (facts.st_dev, facts.st_ino) in visited:
            folders.clear()
            continue
        visited.add((facts.st_dev, facts.st_ino))
        folders.sort()
        files.extend(os.path.join(root, name) for name in names)
    for path in sorted(files, key=lambda path: path.split(os.sep)):
        _add_file(path, licences, found)


def _add_file(path: str, licences: dict[str, str], found: FoundFiles) -> None:
    suffix = os.path.splitext(path)[1].lower()
    if suffix in VIDEO_SUFFIXES or suffix in IMAGE_SUFFIXES or _is_unnamed_media(path, suffix):
        licences.setdefault(path, "")
    else:
        found.ignored[suffix or "(none)"] += 1


def _is_unnamed_media(path: str, suffix: str) -> bool:
    """Whether a file whose name tells nothing begins as a film or a picture."""
    return suffix not in NO_MEDIA_SUFFIXES and is_media(path)


def _read_list(path: str, licences: dict[str, str]) -> None:
    from opensora.tables.io import read_table  # loads Parquet, which folders do without

    table = read_table(path)
    if PATH not in table.columns:
        raise TableError(f"{path}: a list of videos needs a column 'path'; it has {list(table)}")
    empty = table.index[table[PATH] == ""]
    if len(empty):
        raise TableError(f"{path}: row {int(empty[0]) + 1} has an empty path")
    column = next((name for name in LICENCE_NAMES if name in table.columns), None)
    licences_given = table[column].fillna("").astype(str) if column else [""] * len(table)
    folder = os.path.dirname(path)
    for name, licence in zip(table[PATH], licences_given, strict=True):
        licences.setdefault(os.path.join(folder, _plain(name)), licence)


def _plain(path: str | Path) -> str:
    """The path without empty steps."""
    text = os.fspath(path)
    return str(Path(text)) if "./" in text or "//" in text or text.endswith("/") else text
