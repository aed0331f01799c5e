"""Data sets as the settings of other trainers name them: where they train, we curate."""

import json
import logging
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
from opensora.curation.readers.beside import held_out_beside
from opensora.curation.readers.folders import captions_beside
from opensora.curation.readers.reader import (
    Reader,
    media_in,
    read_clips,
    table_beside,
)
from opensora.tables.columns import PATH, TEXT
from opensora.tables.io import with_known_names
from opensora.tables.text_tables import fill_text

log = logging.getLogger(__name__)


class _Settings(Reader):
    """A file that names data sets in a list.

    `places`: fields of a data set of which one names its folder or table.
    """

    suffix: str
    key: str
    places: tuple[str, ...]

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
        parts = []
        for data, rows in self._data_sets(path):
            parts.append(rows)
            if (repeats := data.get("num_repeats", 1)) != 1:
                log.warning(
                    "%s: num_repeats=%s is not taken over, clips count once here; `opensora init`"
                    " writes it as `repeat` of a source",
                    *(path, repeats),
                )
        return self._with_held_out(path, parts)

    def first_texts(self, path: Path, most: int) -> list[str]:
        """Captions of the first clips; what they count is asked for by `sources`."""
        rows = self._with_held_out(path, [rows for _, rows in self._data_sets(path)])
        return [str(text) for text in rows[TEXT].head(most)]

    def sources(self, path: Path) -> dict[str, float]:
        """Place of each data set -> its repeats; "" where one is not read alone as it is here."""
        sets = self._data_sets(path)
        if all(data.get("num_repeats", 1) == 1 for data, _ in sets):
            return {}
        found: dict[str, float] = {}
        for data, rows in sets:
            repeats = data.get("num_repeats", 1)
            is_number = isinstance(repeats, int | float) and repeats > 0
            place = self._alone(path, data, rows) if is_number else ""
            found[place] = found.get(place, 0.0) + (repeats if is_number else 0.0)
        return found

    def _alone(self, path: Path, data: dict[str, Any], rows: pd.DataFrame) -> str:
        """The folder or table by which a data set is found again, with what is held out of it."""
        place = _place(path, next(data[name] for name in self.places if name in data))
        held_out = sum(map(len, held_out_beside(path, rows)))
        for candidate in (place.parent, place) if held_out else (place,):
            try:
                found = with_known_names(read_clips(candidate))
            except TableError:
                continue
            train = found[found["split"] == "train"] if "split" in found else found
            if len(found) - len(train) == held_out and all(
                name in train and list(train[name]) == list(rows[name]) for name in (PATH, TEXT)
            ):
                return str(candidate)
        return ""

    def _data_sets(self, path: Path) -> list[tuple[dict[str, Any], pd.DataFrame]]:
        """Each with its rows.

        Raises:
            TableError: one of them is not there, or holds no clip.
        """
        whole = self._parsed(path)
        found = []
        for data in whole[self.key]:
            if not isinstance(data, dict):
                raise TableError(f"{path}: {self.key} holds {data!r}; expected tables of settings")
            found.append((data, self._of(path, data, whole)))
        if not found:
            raise TableError(f"{path}: {self.key} is empty")
        return found

    def _with_held_out(self, path: Path, parts: list[pd.DataFrame]) -> pd.DataFrame:
        rows = pd.concat(parts, ignore_index=True)
        if "split" in rows or not (held_out := held_out_beside(path, rows)):
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
    places = ("video_directory", "video_jsonl_file", "image_directory", "image_jsonl_file")

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
    places = ("path",)

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
    places = ("data_root",)

    def _of(self, path: Path, data: dict[str, Any], whole: dict[str, Any]) -> pd.DataFrame:
        root = _place(path, data.get("data_root", "(a data set without data_root)"))
        if not root.is_dir():
            return table_beside(root)
        return read_clips(root)
