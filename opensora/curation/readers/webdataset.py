"""WebDataset: tar files in which the files of a sample share a name up to its first dot."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from opensora.config.registry import READERS
from opensora.core import limits
from opensora.core.errors import TableError
from opensora.core.limits import check_depth
from opensora.curation.readers.reader import MEDIA_SUFFIXES, Reader, folders_of, names_in
from opensora.curation.readers.tar_index import BrokenArchive, Member, members
from opensora.curation.readers.unpack import Rows, rows_once, unpack
from opensora.tables.columns import FAULT, PATH, SPELLINGS, TEXT
from opensora.tables.text_tables import fill_text, first_text

_SUFFIX = ".tar"
# what a look into the clip tells better: archives often say it of the film it was cut from
_MEASURED = frozenset({"num_frames", "height", "width", "fps", "sha256", "kind", PATH, FAULT})


@READERS.register_module(name="webdataset")
class WebDataset(Reader):
    """Shards of `KEY.mp4` with `KEY.txt` or `KEY.json`, as webdataset and video2dataset write them.

    Each clip that has a caption is brought out once, by its content; names in an archive are
    labels. A sample that lacks one or is damaged is a row with a fault.
    """

    layout = "WebDataset shards (.tar: video and .txt or .json)"

    def takes(self, path: Path) -> bool:
        """A tar file, or a folder with some, maybe in folders of its own."""
        return bool(_shards(path))

    def read(self, path: Path) -> pd.DataFrame:
        """The samples of all shards.

        Raises:
            TableError: there is no place for clips, or no sample.
        """
        store = self.need_store(path)
        rows: Rows = []
        for shard in _shards(path):
            rows += rows_once(shard, store, _rows)
        if not rows:
            raise TableError(f"{path}: no sample in {len(_shards(path))} archives")
        return fill_text(pd.DataFrame(rows))

    def first_texts(self, path: Path, most: int) -> list[str]:
        """Captions of the first shard's first samples."""
        found: list[str] = []
        with _shards(path)[0].open("rb") as file, suppress(BrokenArchive, ValueError):
            for _, sample in islice(_samples(file), most):
                found.append(_described(file, sample)[TEXT])
        return found


def _shards(path: Path) -> list[Path]:
    if path.suffix.lower() == _SUFFIX and path.is_file():
        return [path]
    files = [folder / name for folder in folders_of(path) for name in names_in(folder, (_SUFFIX,))]
    return [file for file in files if file.is_file()]


def _samples(file: BinaryIO) -> Iterator[tuple[str, list[Member]]]:
    """Members by what their names share up to the first dot of the last part.

    Raises:
        BrokenArchive: behind all that could be read.
    """
    sample: list[Member] = []
    try:
        for member in members(file):
            if sample and _key(member.name) != _key(sample[0].name):
                yield _key(sample[0].name), sample
                sample = []
            if not member.name.endswith("/"):
                sample.append(member)
    except BrokenArchive:
        if sample:
            yield _key(sample[0].name), sample
        raise
    if sample:
        yield _key(sample[0].name), sample


def _key(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def _rows(shard: Path, store: Path) -> Iterator[dict[str, Any]]:
    """A row for each sample; the last one says where the archive breaks off."""
    with shard.open("rb") as file:
        last = ""
        try:
            for last, sample in _samples(file):
                yield _row(file, shard, last, sample, store)
        except (BrokenArchive, EOFError) as error:
            behind = f" behind {last}" if last else ""
            yield _faulty(shard, f"(the rest{behind})", f"corrupt: {shard}: {error}")


def _row(
    file: BinaryIO, shard: Path, key: str, sample: list[Member], store: Path
) -> dict[str, Any]:
    clip = next((m for m in sample if _suffix(m) in MEDIA_SUFFIXES), None)
    if clip is None:
        return _faulty(shard, key, f"missing: {shard}: {key} has no video or picture")
    if not clip.is_file:
        return _faulty(
            shard, key, f"missing: {shard}: {clip.name} is no file but a link or a device"
        )
    try:
        row = _described(file, sample)
    except ValueError as error:
        return _faulty(shard, key, f"caption_unreadable: {shard}: {key}: {error}")
    if not str(row[TEXT]).strip():  # it would be left out: no need to bring it out
        return {**_faulty(shard, key, "no_caption: its text is empty"), **row}
    file.seek(clip.offset)
    path, digest = unpack(file, clip.size, store, clip.name)
    return {**row, PATH: path, "sha256": digest, FAULT: ""}


def _faulty(shard: Path, key: str, fault: str) -> dict[str, Any]:
    return {PATH: f"{shard}/{key}", TEXT: "", "sha256": "", FAULT: fault}


def _described(file: BinaryIO, sample: list[Member]) -> dict[str, Any]:
    """Text and other columns of a sample; a text file goes before what an object says.

    Raises:
        ValueError: they can not be read.
    """
    row: dict[str, Any] = {}
    for member in sample:
        if member.is_file and _suffix(member) == ".json":
            row |= _facts(_content(file, member))
    text = next((first_text(row[name]) for name in SPELLINGS[TEXT] if row.get(name)), "")
    for member in sample:
        if member.is_file and _suffix(member) == ".txt":
            text = _content(file, member).strip()
    return {**{name: row[name] for name in row if name not in SPELLINGS[TEXT]}, TEXT: text}


def _facts(text: str) -> dict[str, Any]:
    """Plain values of an object and lists of captions."""
    check_depth(text)
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("its .json is no object")
    return {
        str(name): value
        for name, value in found.items()
        if name not in _MEASURED
        and (name in SPELLINGS[TEXT] or isinstance(value, str | int | float | bool))
    }


def _content(file: BinaryIO, member: Member) -> str:
    if member.size > limits.CAPTION_FILE_BYTES:
        raise ValueError(
            f"{member.name} has {member.size:,} bytes; at most"
            f" {limits.CAPTION_FILE_BYTES:,} are read"
        )
    file.seek(member.offset)
    try:
        return file.read(member.size).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{member.name} is not UTF-8 at byte {error.start}") from error


def _suffix(member: Member) -> str:
    return os.path.splitext(member.name)[1].lower()
