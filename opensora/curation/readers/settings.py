"""Data sets as the settings of other trainers name them: where they train, we curate."""

import json
import logging
import os
import tomllib
from abc import abstractmethod
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.config.registry import READERS
from opensora.core.errors import TableError
from opensora.core.io import lines_of
from opensora.core.limits import check_depth
from opensora.core.text_files import TextEncodingError, read_text
from opensora.curation.readers.folders import captions_beside
from opensora.curation.readers.reader import (
    Reader,
    folders_of,
    layout_of,
    media_in,
    read_clips,
    split_of,
    table_beside,
)
from opensora.tables.columns import PATH, TEXT
from opensora.tables.text_tables import fill_text

log = logging.getLogger(__name__)


class _Settings(Reader):
    """A file that names data sets in a list."""

    suffix: str
    key: str

    def takes(self, path: Path) -> bool:
        """A file of the suffix whose list has the key."""
        if path.suffix.lower() != self.suffix or not path.is_file():
            return False
        return isinstance(self._parsed(path).get(self.key), list)

    def read(self, path: Path) -> pd.DataFrame:
        """All data sets of the file, in its order.

        Raises:
            TableError: one of them is not there, or holds no clip.
        """
        whole = self._parsed(path)
        parts = []
        for data in whole[self.key]:
            if not isinstance(data, dict):
                raise TableError(f"{path}: {self.key} holds {data!r}; expected tables of settings")
            parts.append(self._of(path, data, whole))
            if (repeats := data.get("num_repeats", 1)) != 1:
                log.warning("%s: num_repeats=%s is not taken over; clips count once", path, repeats)
        if not parts:
            raise TableError(f"{path}: {self.key} is empty")
        rows = pd.concat(parts, ignore_index=True)
        if "split" in rows or not (held_out := _held_out_beside(path, rows)):
            return rows
        return fill_text(pd.concat([rows.assign(split="train"), *held_out], ignore_index=True))

    @abstractmethod
    def _of(self, path: Path, data: dict[str, Any], whole: dict[str, Any]) -> pd.DataFrame:
        """The clips of one data set."""

    def _parsed(self, path: Path) -> dict[str, Any]:
        try:
            text = read_text(path)
            if self.suffix == ".toml":
                return tomllib.loads(text)
            return _object(text) if text.lstrip().startswith("{") else {}  # a list is a table
        except (TextEncodingError, ValueError, RecursionError) as error:
            raise TableError(f"{path}: {error}") from error


def _place(settings: Path, name: object) -> Path:
    """A folder or file that settings name: from the working folder, else from where they stand.

    Raises:
        TableError: it is in neither.
    """
    for place in (Path(str(name)), settings.parent / str(name)):
        if place.exists():
            return place
    raise TableError(f"{settings}: {name} does not exist")


def _held_out_beside(settings: Path, rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Clips of folders named as held out, beside a folder `train` that settings speak of.

    A trainer is told of what it trains alone; what is held out must not come in as something else.
    """
    folders = {os.path.dirname(name) for name in rows[PATH]}
    places = {os.path.dirname(f) for f in folders if split_of(os.path.basename(f)) == "train"}
    parts = []
    for folder in (inner for place in sorted(places) for inner in folders_of(Path(place))[1:]):
        split = split_of(folder.name)
        if split in ("", "train") or str(folder) in folders or not (clips := media_in(folder)):
            continue
        if layout_of(folder):
            parts.append(read_clips(folder).assign(split=split))
            log.info("%s: %s is taken as %s: %d clips", settings, folder, split, len(parts[-1]))
        else:
            log.warning(
                "%s: %d clips in %s are not in it and have no captions there; they are left out: a"
                " text beside each brings them in",
                *(settings, len(clips), folder),
            )
    return parts


def _object(text: str) -> dict[str, Any]:
    check_depth(text)
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("expected a JSON object")
    return found


@READERS.register_module(name="musubi")
class Musubi(_Settings):
    """musubi-tuner's dataset.toml: folders with captions beside the clips, or JSON Lines."""

    layout = "dataset.toml of musubi-tuner"
    suffix, key = ".toml", "datasets"

    def _of(self, path: Path, data: dict[str, Any], whole: dict[str, Any]) -> pd.DataFrame:
        general = whole.get("general", {})
        suffix = data.get("caption_extension", general.get("caption_extension", ".txt"))
        for kind in ("video", "image"):
            if (folder := data.get(f"{kind}_directory")) is not None:
                return captions_beside(media_in(_place(path, folder)), str(suffix))
            if (table := data.get(f"{kind}_jsonl_file")) is not None:
                return self._lines(_place(path, table), kind)
        raise TableError(
            f"{path}: a data set names no video_directory, video_jsonl_file, image_directory or"
            " image_jsonl_file"
        )

    def _lines(self, table: Path, kind: str) -> pd.DataFrame:
        rows = []
        try:
            lines = lines_of(read_text(table))  # a caption may hold what str.splitlines parts at
        except TextEncodingError as error:
            raise TableError(str(error)) from error
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
                rows.append({PATH: found[f"{kind}_path"], TEXT: found["caption"]})
            except (ValueError, KeyError, TypeError) as error:
                raise TableError(
                    f"{table}: line {number}: expected an object with {kind}_path and caption"
                ) from error
        return pd.DataFrame(rows, columns=[PATH, TEXT])


@READERS.register_module(name="diffusion-pipe")
class DiffusionPipe(_Settings):
    """diffusion-pipe's dataset.toml: folders, captions beside the clips or in captions.json."""

    layout = "dataset.toml of diffusion-pipe"
    suffix, key = ".toml", "directory"

    def _of(self, path: Path, data: dict[str, Any], whole: dict[str, Any]) -> pd.DataFrame:
        folder = _place(path, data.get("path", "(a directory without path)"))
        files = media_in(folder)
        if not (folder / "captions.json").is_file():
            return captions_beside(files)
        captions = folder / "captions.json"
        try:
            known = _object(read_text(captions))
            texts = [str((known.get(file.name) or [""])[0]) for file in files]  # of several
        except (TextEncodingError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise TableError(
                f"{captions}: expected an object of lists of captions by file name ({error})"
            ) from error
        return pd.DataFrame({PATH: [str(file) for file in files], TEXT: texts})


@READERS.register_module(name="finetrainers")
class Finetrainers(_Settings):
    """finetrainers' training.json: data_root of each data set is a folder that a reader takes."""

    layout = "training.json of finetrainers"
    suffix, key = ".json", "datasets"

    def _of(self, path: Path, data: dict[str, Any], whole: dict[str, Any]) -> pd.DataFrame:
        root = _place(path, data.get("data_root", "(a data set without data_root)"))
        if not root.is_dir():
            return table_beside(root)
        return read_clips(root)
