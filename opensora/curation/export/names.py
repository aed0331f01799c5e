"""The names of exported files: made of ids, splits and suffixes, which strangers may have written.

Whoever unpacks a shard lets its members name files. So a name is one plain file name, and no two
clips share one; both are checked before anything is written.
"""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.core.errors import TableError
from opensora.core.text import visible
from opensora.tables.columns import CAPTION, ID, PATH, TEXT

SPLIT, SOURCE = "split", "source"
DEFAULT_SUFFIX = ".mp4"  # of a clip whose file has none
_SPLIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_SUFFIX = re.compile(r"(\.[A-Za-z0-9_]{1,10})?")
_BESIDE = frozenset({".txt", ".json"})  # what a WebDataset sample holds besides its clip
_MAX_BYTES = 200  # of an id: file systems take 255, and a suffix follows
_PLAIN = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{_MAX_BYTES - 1}}}")  # most ids
_SHOWN = 80  # characters of a name in an error


def member_name(name: object) -> str:
    """The name of a WebDataset sample: an id whose dots, which would start a suffix, are `_`."""
    return str(name).replace(".", "_")


def suffix_of(path: object) -> str:
    """The suffix of a file as `Path` has it, in a tenth of its time; "" where it has none."""
    suffix = os.path.splitext(str(path).rstrip("/"))[1]
    return "" if suffix == "." else suffix


def absolute(paths: Iterable[object]) -> list[str]:
    """Where files stand; what is plain and absolute stays, without the time that `Path` takes."""
    found = []
    for path in paths:
        text = str(path)
        plain = text.startswith("/") and "//" not in text and "/." not in text and text[-1] != "/"
        found.append(text if plain else str(Path(text).absolute()))
    return found


def without_places(manifest: pd.DataFrame) -> pd.DataFrame:
    """The rows with sources named from the folder that holds them all: where it stands is private.

    Args:
        manifest: a MANIFEST table; sources that are no absolute paths stay as they are.
    """
    if SOURCE not in manifest:
        return manifest
    given = [str(value) for value in manifest[SOURCE].unique()]
    folders = [os.path.dirname(path) for path in given if os.path.isabs(path)]
    if not folders:
        return manifest
    root = os.path.commonpath(folders)
    short = {path: os.path.relpath(path, root) for path in given if os.path.isabs(path)}
    return manifest.assign(**{SOURCE: manifest[SOURCE].map(lambda path: short.get(path, path))})


def check_names(manifest: pd.DataFrame, *, without_dots: bool) -> None:
    """Refuse what is no plain file name, and clips that would share one.

    Args:
        manifest: a MANIFEST table.
        without_dots: ids become names by `member_name`, beside `.txt` and `.json` files.

    Raises:
        TableError: names the first id, split or clip that can not be exported.
    """
    suffixes = manifest[PATH].map(suffix_of)
    _refuse(manifest[SPLIT], _is_split, "split", "letters, digits, _ - and . alone, at most 100")
    plain = f"a file name of at most {_MAX_BYTES} bytes, without / and \\"
    _refuse(manifest[ID], _is_file_name, ID, plain)
    _refuse(suffixes, _SUFFIX.fullmatch, "suffix of a clip", "a dot, then letters and digits")
    if without_dots:
        beside = suffixes.map(str.lower).isin(_BESIDE)
        if beside.any():
            raise TableError(
                f"export: the clip of id {_shown(manifest.loc[beside, ID].iloc[0])} ends in"
                f" {suffixes[beside].iloc[0]}, the name of its caption or facts; rename the file"
            )
    names = manifest[ID].map(member_name if without_dots else str)
    twice = names[names.duplicated()]
    if len(twice):
        same = manifest.loc[names == twice.iloc[0], ID].map(_shown)
        raise TableError(
            f"export: ids {same.iloc[0]} and {same.iloc[1]} would both be named"
            f" {_shown(twice.iloc[0])}; give every clip an id of its own"
        )


def _refuse(values: pd.Series, fits: Callable[[str], Any], what: str, expected: str) -> None:
    for value in values.unique():
        if not fits(str(value)):
            raise TableError(f"export: {what} {_shown(value)} can not name a file; use {expected}")


def _is_split(text: str) -> bool:
    return _SPLIT.fullmatch(text) is not None


def _is_file_name(text: str) -> bool:
    if _PLAIN.fullmatch(text):
        return True
    if visible(text) != text or not 0 < len(text.encode("utf-8", "replace")) <= _MAX_BYTES:
        return False
    return text not in (".", "..") and not set(text) & {"/", "\\"}


def _shown(value: object) -> str:
    return repr(visible(str(value))[:_SHOWN])


def as_written(rows: pd.DataFrame) -> pd.Series:
    """Captions as people wrote them: other trainers clean them in their own way."""
    if CAPTION not in rows:
        return rows[TEXT]
    return rows[CAPTION].where(rows[CAPTION].fillna("") != "", rows[TEXT])
