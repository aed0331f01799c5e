"""Where the words of clips are: in files beside them, in tables, or in names of folders alone."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.core.errors import TableError
from opensora.curation.readers.folders import split_tables
from opensora.curation.readers.reader import first_texts, layout_of, sources_of, split_of
from opensora.curation.survey.places import Named, Places, rows_of
from opensora.curation.survey.prompts import (
    ANY_PROMPT,
    PROMPTS,
    of_folders,
    prompts_of,
    text_beside,
)
from opensora.curation.survey.walk import Contents
from opensora.tables.columns import PATH, TEXT
from opensora.tables.io import with_known_names
from opensora.tables.public import PublicTable, public_table, video_ids

_MOST_TABLES = 20
# a table with these is one of clips that were cut: their seconds are those of the source
_OF_SOURCES = {"source", "start", "end"}


@dataclass
class Words:
    """Captions that there are.

    Attributes:
        beside: files with a text or object of their name.
        tables: tables with a path and a text, of which a path is one of the files.
        in_tables: files that they name.
        files: those with a caption, in tables or beside them; empty where none has one.
        clips_of: a table of clips that start in another folder than its own, as OpenVid-1M has
            them; which begins a run with `manifest` and `root`.
        root: that folder; "" the working one.
        others: tables beside that one which name files that it does not.
        has_times: a table says from when to when a text holds.
        heads: tables that are too large to be read as a whole; the first rows were looked into.
        unread: tables that can not be read.
        scenes: a table of a public set, with the seconds of videos that are here.
        ready: what is clips with their captions in a layout of its own, with which a run begins.
        sources: places of those -> how often a clip counts, where it is not once; "" among them
            where that can not be said in a config.
        packed: bytes of the archives and tables in which those lie, 0 of clips that are files.
        in_splits: a folder that says which of its clips are held out; which begins a run, unless
            its videos are long.
        prompts: some of the texts.
    """

    beside: int = 0
    tables: list[str] = field(default_factory=list)
    in_tables: int = 0
    files: frozenset[str] = frozenset()
    clips_of: str = ""
    root: str = ""
    others: list[str] = field(default_factory=list)
    has_times: bool = False
    heads: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    scenes: str = ""
    ready: str = ""
    sources: dict[str, float] = field(default_factory=dict)
    packed: int = 0
    in_splits: str = ""
    prompts: list[str] = field(default_factory=list)

    def covered(self, total: int) -> int:
        """Files that have a caption; of a table that was not read as a whole nobody knows: all."""
        return total if self.heads and self.in_tables else max(self.in_tables, self.beside)

    def has(self, path: str) -> bool:
        """Whether a file gets a caption; where none is found names of folders stand in for all."""
        return not self.files or bool(self.heads) or path in self.files

    def without(self, total: int) -> int:
        """Files that have no caption, where others have one."""
        return 0 if self.ready else (total - found if (found := self.covered(total)) else 0)


def find_words(folder: Path, found: Contents) -> Words:
    """Look for captions of the files of a folder.

    Where tables name files these go before what stands beside; where neither is, prompts are made
    of the names of folders.
    """
    layout = _layout(folder)  # of ten thousands of files the listing takes its time: once
    if ready := _ready_table(folder, found, layout):
        return replace(
            _of_ready(ready), packed=_packed(layout, found) if ready == str(folder) else 0
        )
    words = Words(beside=len(found.captioned), files=frozenset(found.captioned))
    words.in_splits = str(folder) if len(_splits(folder, found, layout)) > 1 else ""
    places = Places(found.media) if found.tables else None
    named: dict[str, frozenset[str]] = {}  # by the tables whose paths start in their own folders
    elsewhere: dict[str, Named] = {}
    texts: dict[str, list[str]] = {}
    for table in found.tables[:_MOST_TABLES]:
        if table.lower().endswith(".toml"):
            continue
        rows, is_whole = rows_of(table)
        if rows is None:
            words.unread.append(table)
            continue
        words.heads += [table] * (not is_whole)
        if public := public_table(rows.columns):
            if spans := _of_public(public, rows, found.videos):
                return Words(
                    scenes=table, tables=[table], has_times=True, heads=words.heads, **spans
                )
            continue
        rows = with_known_names(rows)
        if PATH not in rows or TEXT not in rows or places is None:
            continue
        theirs = places.named(table, rows[PATH].tolist())
        if not theirs.files:
            continue
        if set(rows) >= _OF_SOURCES:
            if layout:
                return replace(_of_ready(str(folder)), in_splits=words.in_splits)
            theirs = Named(theirs.root or os.path.dirname(table), theirs.files)
        texts[table] = _texts_of(rows, theirs)
        if theirs.root is not None:
            elsewhere[table] = theirs
            continue
        named[table] = theirs.files
        words.has_times |= {"start", "end"} <= set(rows)
    _choose(words, named, elsewhere)
    chosen = [words.clips_of] if words.clips_of else words.tables
    said = [text for table in chosen for text in texts[table]]
    if not chosen:
        said = [text_beside(Path(path)) for path in sorted(found.captioned)[:PROMPTS]]
    words.prompts = prompts_of(said) or of_folders(found.media) or [ANY_PROMPT]
    return words


def _choose(words: Words, named: dict[str, frozenset[str]], elsewhere: dict[str, Named]) -> None:
    """Which tables have the captions of most files, if more than stand beside them."""
    in_own = len(frozenset().union(*named.values()))
    best = min(elsewhere, key=lambda table: (-len(elsewhere[table].files), table), default="")
    if best and len(elsewhere[best].files) > max(in_own, words.beside):
        words.clips_of, words.root = best, elsewhere[best].root or ""
        words.files = elsewhere[best].files
        words.in_tables = len(words.files)
        words.others = [name for name in elsewhere if elsewhere[name].files - words.files]
    elif in_own and in_own >= words.beside:
        words.tables, words.in_tables = list(named), in_own
        words.files = frozenset().union(*named.values())


def _texts_of(rows: pd.DataFrame, theirs: Named) -> list[str]:
    """Texts of the first rows whose files are here."""
    names = {os.path.basename(path) for path in theirs.files}
    is_here = rows[PATH].map(lambda name: os.path.basename(str(name)) in names)
    return [str(text) for text in rows.loc[is_here, TEXT].head(PROMPTS)]


def _of_ready(ready: str) -> Words:
    prompts = prompts_of(first_texts(Path(ready), PROMPTS))
    sources = sources_of(Path(ready))
    return Words(ready=ready, sources=sources, prompts=prompts or [ANY_PROMPT])


def _of_public(public: PublicTable, rows: pd.DataFrame, videos: Sequence[str]) -> dict[str, Any]:
    """Files that a public set's table speaks of, and some of its texts; empty where it does not."""
    ids = {name: path for path in videos for name in video_ids(path)}
    named: set[str] = set()
    texts: list[str] = []
    for row in rows.to_dict("records"):
        if (path := ids.get(public.video_of(row))) is not None:
            named.add(path)
            if len(texts) < PROMPTS:
                with suppress(ValueError):  # the run names the row
                    texts += [span.text for span in public.spans_of(row)]
    prompts = prompts_of(texts) or [ANY_PROMPT]
    if not named:
        return {}
    return {"in_tables": len(named), "files": frozenset(named), "prompts": prompts}


def _splits(folder: Path, found: Contents, layout: str) -> set[str]:
    """Splits that the clips of a folder with captions are dealt out to, by tables or by folders."""
    if layout == "split_tables":
        return set(split_tables(folder).values())
    if layout not in ("folder", "videofolder"):
        return set()
    places = {os.path.dirname(path) for path in found.media} - {str(folder)}
    if any(os.path.dirname(place) != str(folder) for place in places):
        return set()  # the readers of these look into the folders of one, and no deeper
    return {split_of(os.path.basename(place)) or "train" for place in places}


def _ready_table(folder: Path, found: Contents, layout: str) -> str:
    """What of a folder is ready clips with their captions, which a run begins with; "" if nothing.

    Settings of a trainer, archives, tables with the clips in them or of clips that stand elsewhere;
    where captions stand beside videos or in a table of them the run goes through curation.
    """
    tables = [Path(path) for path in found.tables if Path(path).parent == folder]
    for path in tables:
        if path.suffix.lower() in (".toml", ".json") and _layout(path):
            return str(path)
    ready = ["parquet", "two_lists", "webdataset"] + ["split_tables"] * (not found.media)
    return str(folder) if layout in ready else ""


def _packed(layout: str, found: Contents) -> int:
    """Bytes of the files that hold clips, where a layout has them in other files."""
    tables = [path for path in found.tables if path.lower().endswith(".parquet")]
    files = {"webdataset": found.archives, "parquet": tables}.get(layout, [])
    return sum(os.path.getsize(path) for path in files if os.path.isfile(path))


def _layout(path: Path) -> str:
    """The layout of a file or folder; "" also where it can not be read, which others may be."""
    try:
        return layout_of(path)
    except (TableError, OSError):
        return ""
