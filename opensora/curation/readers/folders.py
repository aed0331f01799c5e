"""Folders of clips: captions beside them, in a table, or in two lists."""

import os
from pathlib import Path

import pandas as pd

from opensora.config.registry import READERS
from opensora.core.errors import TableError
from opensora.core.io import lines_of
from opensora.core.text_files import TextEncodingError, read_text
from opensora.curation.readers.reader import (
    MEDIA_SUFFIXES,
    Reader,
    folders_of,
    in_splits,
    media_in,
    names_in,
    split_of,
    table_beside,
)
from opensora.tables.columns import PATH, TEXT
from opensora.tables.io import read_head, with_known_names
from opensora.tables.text_tables import fill_text

_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.json")
_FILE_LISTS = ("videos.txt", "video.txt")
_SPLIT_TABLES = (".jsonl", ".json", ".csv", ".parquet")
_LOOKED_INTO = 20  # rows of the first of them
_CAPTION_LISTS = ("captions.txt", "caption.txt", "prompts.txt", "prompt.txt")


def captions_beside(files: list[Path], suffix: str = ".txt") -> pd.DataFrame:
    """Rows of clips and the texts in files of the same name; "" where there is none."""
    texts = []
    for file in files:
        beside = file.with_suffix(suffix)
        try:
            texts.append(read_text(beside).strip() if beside.is_file() else "")
        except TextEncodingError as error:
            raise TableError(str(error)) from error
    return pd.DataFrame({PATH: [str(file) for file in files], TEXT: texts})


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


@READERS.register_module(name="videofolder")
class VideoFolder(Reader):
    """Hugging Face's videofolder and finetrainers: metadata.jsonl, .csv or .json by the clips.

    The table stands in the folder or in one folder for each split.
    """

    layout = "videofolder (metadata.jsonl or .csv beside the clips)"

    def takes(self, path: Path) -> bool:
        """A folder, or one in it, has the table."""
        return any(_first(folder, _METADATA) for folder in folders_of(path))

    def read(self, path: Path) -> pd.DataFrame:
        """All tables of the folder."""
        tables = {folder: _first(folder, _METADATA) for folder in folders_of(path)}
        return in_splits(path, {f: table_beside(t) for f, t in tables.items() if t is not None})


@READERS.register_module(name="two_lists")
class TwoLists(Reader):
    """finetrainers' videos.txt and prompts.txt: a path and its caption in lines of one number."""

    layout = "videos.txt and prompts.txt (finetrainers)"

    def takes(self, path: Path) -> bool:
        """A folder with both lists."""
        return bool(path.is_dir() and _first(path, _FILE_LISTS) and _first(path, _CAPTION_LISTS))

    def read(self, path: Path) -> pd.DataFrame:
        """Join the lists.

        Raises:
            TableError: one is longer.
        """
        files, texts = _first(path, _FILE_LISTS), _first(path, _CAPTION_LISTS)
        assert files is not None and texts is not None  # noqa: PT018, takes() saw both
        names, captions = (_lines(list_) for list_ in (files, texts))
        if len(names) != len(captions):
            raise TableError(
                f"{path}: {files.name} has {len(names)} lines and {texts.name} {len(captions)};"
                " line k of one belongs to line k of the other"
            )
        return pd.DataFrame({PATH: [str(path / name) for name in names], TEXT: captions})


def _lines(path: Path) -> list[str]:
    try:
        text = read_text(path)
    except TextEncodingError as error:
        raise TableError(str(error)) from error
    return [line.strip() for line in lines_of(text.rstrip())]


def _beside_media(folder: Path) -> list[str]:
    """Names of texts that a video or image of the folder shares."""
    stems = {os.path.splitext(name)[0] for name in names_in(folder, MEDIA_SUFFIXES)}
    texts = names_in(folder, (".txt",))
    return [name for name in texts if name.endswith(".txt") and name[:-4] in stems]


@READERS.register_module(name="folder")
class CaptionsBeside(Reader):
    """x.mp4 and x.txt, as diffusion-pipe, musubi-tuner, finetrainers and sd-scripts take them."""

    layout = "x.mp4 and x.txt"

    def takes(self, path: Path) -> bool:
        """A folder, or one in it, has a clip with a text of its name."""
        return any(
            (folder / name).is_file()
            for folder in folders_of(path)
            for name in _beside_media(folder)
        )

    def read(self, path: Path) -> pd.DataFrame:
        """Clips of the folder and of those in it."""
        parts = {folder: media_in(folder) for folder in folders_of(path)}
        return in_splits(path, {f: captions_beside(files) for f, files in parts.items() if files})


def split_tables(folder: Path) -> dict[Path, str]:
    """Tables of a folder, or of `data` in it, whose names begin with that of a split -> the split.

    As `train.jsonl`, or `train-00000-of-00002.parquet`.
    """
    if not folder.is_dir():
        return {}
    places = [place for place in (folder, folder / "data") if place.is_dir()]
    files = [place / name for place in places for name in names_in(place, _SPLIT_TABLES)]
    named = {file: split_of(file.stem.partition("-")[0]) for file in files}
    return {file: split for file, split in named.items() if split and file.is_file()}


@READERS.register_module(name="split_tables")
class SplitTables(Reader):
    """A table for each split, as `opensora export --format jsonl` and LTX's trainers have them."""

    layout = "train.jsonl, .json, .csv or .parquet, and those of other splits"

    def takes(self, path: Path) -> bool:
        """A folder with tables named as splits, and the first names a clip from its own folder."""
        return any(map(_names_clips, list(split_tables(path))[:1]))

    def read(self, path: Path) -> pd.DataFrame:
        """All tables, of each its split; what trains alone has none, so that sides can be drawn."""
        tables = split_tables(path)
        parts = []
        for table, split in tables.items():
            part = table_beside(table)
            is_told = "split" in part or set(tables.values()) == {"train"}
            parts.append(part if is_told else part.assign(split=split))
        return fill_text(pd.concat(parts, ignore_index=True))

    def first_texts(self, path: Path, most: int) -> list[str]:
        """Captions of the first table's first rows."""
        rows = with_known_names(read_head(next(iter(split_tables(path))), most))
        return [str(text) for text in rows[TEXT]]


def _names_clips(table: Path) -> bool:
    try:
        rows = with_known_names(read_head(table, _LOOKED_INTO))
    except TableError:
        return False
    if PATH not in rows or TEXT not in rows:
        return False
    # which takes any text: a name may be longer than a system has them
    return any(os.path.isfile(os.path.join(table.parent, str(name))) for name in rows[PATH])
