"""From what somebody has, a folder, a table or a trainer's settings, to rows of ready clips."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from opensora.config.registry import READERS, registered_names
from opensora.core.errors import ConfigError, TableError, did_you_mean
from opensora.media.formats import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from opensora.tables.columns import PATH, TEXT
from opensora.tables.io import read_table, with_known_names

log = logging.getLogger(__name__)

TABLE = "table"  # a plain one, which no reader needs to take
_TRIED = 1000  # paths of a table, to see where they start
MEDIA_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
# folders and data sets that others name so -> our splits
_SPLITS = {
    **{name: "train" for name in ("train", "training")},
    **{name: "validation" for name in ("validation", "val", "valid", "eval", "dev")},
    **{name: "test" for name in ("test", "testing")},
}


class Reader(ABC):
    """A layout.

    Attributes:
        layout: as an error names it.
        store: folder that clips are brought out into which lie inside other files.
    """

    layout: str
    store: Path | None = None

    @abstractmethod
    def takes(self, path: Path) -> bool:
        """Whether a folder or file has this layout."""

    @abstractmethod
    def read(self, path: Path) -> pd.DataFrame:
        """Rows with `path` (from the working folder or absolute) and `text`; more if there is more.

        A clip without a caption has the text "": the import gives it a reason.

        Raises:
            TableError: it can not be read.
        """

    def first_texts(self, path: Path, most: int) -> list[str]:
        """Captions of the first clips, where those can be had without bringing clips out."""
        return [str(text) for text in self.read(path)[TEXT].head(most)]

    def sources(self, path: Path) -> dict[str, float]:
        """Folders and tables that a layout counts differently -> how often each clip counts.

        Empty where all count alike; a place is "" where what stands there can not be named alone.
        """
        return {}

    def need_store(self, path: Path) -> Path:
        """The folder for clips.

        Raises:
            TableError: none was named.
        """
        if self.store is None:
            raise TableError(f"{path}: its clips lie in other files; name a --store for them")
        return self.store


def read_clips(path: Path, layout: str | None = None, store: Path | None = None) -> pd.DataFrame:
    """Read a table of clips, or whatever layout a reader takes.

    Args:
        path: a table, a trainer's settings, an archive, or a folder.
        layout: name of the reader, or TABLE; None asks each.
        store: folder that clips which lie inside other files are brought out into.

    Raises:
        TableError: no reader takes it, or it can not be read.
        ConfigError: no reader has that name.
    """
    reader = _reader_of(path, layout)
    if reader is not None:
        reader.store = store
        return reader.read(path)
    if path.is_dir():
        known = ", ".join(reader.layout for reader in _readers())
        raise TableError(f"{path}: no layout that is known; it takes {known}, or a table's file")
    return read_table(path)


def first_texts(path: Path, most: int) -> list[str]:
    """Captions of the first clips of a layout; none where no reader takes it.

    Raises:
        TableError: it can not be read.
    """
    reader = _reader_of(path)
    return reader.first_texts(path, most) if reader is not None else []


def sources_of(path: Path) -> dict[str, float]:
    """What a layout counts differently, as `Reader.sources` says.

    Raises:
        TableError: it can not be read.
    """
    reader = _reader_of(path)
    return reader.sources(path) if reader is not None else {}


def layout_of(path: Path) -> str:
    """The registered name of the reader that takes a folder or file; "" where none does."""
    readers = (name for name in registered_names(READERS) if READERS.get(name)().takes(path))
    return next(readers, "")


def _reader_of(path: Path, layout: str | None = None) -> Reader | None:
    if layout == TABLE:
        return None
    if layout is not None:
        names = [TABLE, *registered_names(READERS)]
        if layout not in names:
            hint = did_you_mean(layout, names) or f"; known: {', '.join(names)}"
            raise ConfigError(f"format: there is no layout {layout!r}{hint}")
        reader: Reader = READERS.get(layout)()
        if not reader.takes(path):
            raise TableError(f"{path}: is no {reader.layout}; leave `format` out, or correct it")
        return reader
    return next((reader for reader in _readers() if reader.takes(path)), None)


def _readers() -> list[Reader]:
    return [READERS.get(name)() for name in registered_names(READERS)]


def split_of(name: str) -> str:
    """The split that a folder or file is named as; "" where its name is none."""
    return _SPLITS.get(name.lower(), "")


def root_of(source: Path, layout: str | None, rows: pd.DataFrame, given: str | None) -> str | None:
    """Where relative paths of what was read start; None is the working folder.

    Of a table where nobody says it is its own folder, if a path stands there and none of those
    tried in the working one.

    Raises:
        ConfigError: a root was given for what is no table.
    """
    if _reader_of(source, layout) is not None:
        if given is not None:
            raise ConfigError(
                f"--root {given}: belongs to tables; {source} says itself where its clips are"
            )
        return None
    names = [str(name) for name in with_known_names(rows).get(PATH, [])[:_TRIED]]
    if given is not None or any(map(os.path.isfile, names)):
        return given
    if not any(os.path.isfile(os.path.join(source.parent, name)) for name in names):
        return None
    log.info("import_manifest root=%s: there its paths start", source.parent)
    return str(source.parent)


def in_splits(path: Path, parts: dict[Path, pd.DataFrame]) -> pd.DataFrame:
    """The parts of a folder as one table; folders named as splits are those, and others train."""
    splits = {folder: split_of(folder.name) if folder != path else "" for folder in parts}
    named = [
        part.assign(split=splits[folder] or "train")
        if any(splits.values()) and "split" not in part
        else part
        for folder, part in parts.items()
    ]
    return pd.concat(named, ignore_index=True)


def folders_of(path: Path) -> list[Path]:
    """A folder and those in it, in order; hidden ones left out."""
    if not path.is_dir():
        return []
    with os.scandir(path) as entries:
        inner = [entry.name for entry in entries if entry.is_dir() and entry.name[0] != "."]
    return [path, *(path / name for name in sorted(inner))]


def names_in(folder: Path, suffixes: Collection[str]) -> list[str]:
    """Names of a folder with one of these suffixes, small or capital, in order.

    Of ten thousands of files: to make a path of each takes a hundred times as long.
    """
    ends = tuple(suffixes)
    names = [name for name in os.listdir(folder) if name.lower().endswith(ends)]
    return sorted(name for name in names if name[0] != "." or os.path.splitext(name)[1])


def media_in(folder: Path) -> list[Path]:
    """Videos and images of a folder by name."""
    return [folder / name for name in names_in(folder, MEDIA_SUFFIXES)]


def table_beside(table: Path) -> pd.DataFrame:
    """A table whose paths start in its own folder, with our names.

    Raises:
        TableError: it names no clips.
    """
    rows = with_known_names(read_table(table))
    for name in (PATH, TEXT):
        if name not in rows:
            raise TableError(f"{table}: no column {name!r}; it has {', '.join(map(str, rows))}")
    return rows.assign(**{PATH: [str(table.parent / name) for name in rows[PATH]]})
