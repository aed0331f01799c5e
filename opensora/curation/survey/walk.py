"""One pass over the names in a folder: nothing is opened, however many files there are."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from opensora.core.errors import TableError
from opensora.curation.ingest.discovery import NO_MEDIA_SUFFIXES
from opensora.media.formats import IMAGE_SUFFIXES, VIDEO_SUFFIXES

# of files that may say something about clips; an object beside a video is its caption
_TABLES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".toml")
_ARCHIVE = ".tar"
_BESIDE = (".txt", ".json")
_KINDS = {
    **dict.fromkeys(VIDEO_SUFFIXES, "videos"),
    **dict.fromkeys(IMAGE_SUFFIXES, "images"),
    **dict.fromkeys(_TABLES, "tables"),
    _ARCHIVE: "archives",
}


@dataclass
class Contents:
    """The files of a folder and of all folders in it.

    Attributes:
        videos, images: by their suffix, sorted.
        tables: CSV, JSON, Parquet and TOML that stand beside no file of their name, sorted.
        archives: tar files, sorted.
        unnamed: files whose suffix tells nothing; ingest looks into them.
        captioned: files of `videos` and `images` with a text or an object of their name beside.
        others: suffix -> number of files that are none of these.
        unreadable: folders that could not be listed.
    """

    videos: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    captioned: set[str] = field(default_factory=set)
    others: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)

    @property
    def media(self) -> list[str]:
        """Videos and images."""
        return [*self.videos, *self.images]


def walk(folder: str | Path) -> Contents:
    """List a folder with all folders in it; links to folders are followed, none twice.

    Raises:
        TableError: it is no folder.
    """
    if os.path.isfile(folder):
        raise TableError(
            f"{folder}: is a file; name the folder that it is in, or give a table of clips as"
            " `manifest:` of a workflow config"
        )
    if not os.path.isdir(folder):
        raise TableError(f"{folder}: no such folder; name one with videos, clips or archives")
    found = Contents()
    waiting, visited = [os.fspath(folder)], set()
    while waiting:
        place = waiting.pop()
        try:
            facts = os.stat(place)
            if (facts.st_dev, facts.st_ino) in visited:
                continue
            visited.add((facts.st_dev, facts.st_ino))
            with os.scandir(place) as entries:
                waiting += _sort_out(entries, found)
        except OSError:
            found.unreadable.append(place)
    for files in (found.videos, found.images, found.tables, found.archives, found.unnamed):
        files.sort()
    return found


def _sort_out(entries: "os._ScandirIterator[str]", found: Contents) -> list[str]:
    """Put the files of one folder where they belong; returns the folders in it."""
    folders, stems = [], set()
    media, tables = [], []
    for entry in entries:
        stem, suffix = os.path.splitext(entry.name)
        kind = _KINDS.get(suffix) or _KINDS.get(suffix.lower())
        if _is_folder(entry):  # some call a folder a.mp4
            folders.append(entry.path)
            continue
        if kind in ("videos", "images"):
            media.append((stem, entry.path))
            getattr(found, kind).append(entry.path)
        elif kind == "tables":
            tables.append((stem, entry.path))
        elif kind == "archives":
            found.archives.append(entry.path)
        elif suffix.lower() in NO_MEDIA_SUFFIXES:
            found.others[suffix.lower()] += 1
        else:
            found.unnamed.append(entry.path)
        if suffix.lower() in _BESIDE:
            stems.add(stem)
    found.captioned.update(path for stem, path in media if stem in stems)
    named = {stem for stem, _ in media}
    found.tables += [path for stem, path in tables if stem not in named]
    return folders


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a folder, or a link to one; a link in a circle is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False
