"""Tables that are text: CSV in its dialects, JSON and JSON Lines."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from opensora.core.io import lines_of
from opensora.core.limits import check_depth
from opensora.core.text_files import TextEncodingError, is_utf8_so_far, read_text
from opensora.tables.columns import STRINGS
from opensora.tables.public import rows_of_videos

_HEAD_BYTES = 1 << 16  # of a text in which encoding and separator are looked for
_PART_BYTES = 1 << 20
_OBJECT_BYTES = 1 << 12  # of one in a list, where the first ones are read alone
_BETWEEN = re.compile(r"[\s,]*")  # two objects of a list
_SEPARATORS = (",", ";", "\t")  # spreadsheets put semicolons where commas part decimals
_WHOLE_BITS = 63  # besides the sign


def read_csv(path: Path, rows: int | None = None) -> pd.DataFrame:
    """Read text with separators; what parts the columns stands in its first line.

    Args:
        path: the text.
        rows: how many of the first ones; None reads all.
    """
    text = dict.fromkeys(STRINGS, str)
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    source: Path | StringIO = path
    if not is_utf8_so_far(head):
        source = StringIO(read_text(path), newline="")
        head = source.getvalue()[:_HEAD_BYTES].encode()
    elif rows is None:
        _refuse_zeros(path)
    try:
        # only a truly empty cell is missing: the caption "None" or the id "nan" is text; and a
        # column is of one type, not of one for each part of a long file
        frame = pd.read_csv(
            source,
            sep=_separator(head.decode(errors="replace")),
            dtype=text,
            keep_default_na=False,
            na_values=[""],
            low_memory=False,
            nrows=rows,
        )
    except UnicodeDecodeError:
        read_text(path)  # says where and, as far as can be told, which encoding it is
        raise
    return fill_text(frame)


def _refuse_zeros(path: Path) -> None:
    """Refuse what is UTF-8 at first and holds zero bytes: a hole, in which lines would vanish.

    Raises:
        TextEncodingError: says where.
    """
    place = 0
    with path.open("rb") as file:
        while part := file.read(_PART_BYTES):
            if (found := part.find(0)) >= 0:
                raise TextEncodingError(
                    f"{path}: byte {place + found} is 0; part of it was lost, or it is no text:"
                    " bring it back, or save it in UTF-8"
                )
            place += len(part)


def _separator(head: str) -> str:
    """What parts the names of columns; in quotes it is part of a name."""
    first = re.sub(r'"[^"]*"', "", lines_of(head)[0])
    return next((mark for mark in _SEPARATORS if mark in first), ",")


def read_first_lines(path: Path, rows: int) -> pd.DataFrame:
    """The first rows of JSON Lines in UTF-8."""
    with path.open("rb") as file:
        lines = [line.decode() for line in islice(file, rows)]
    return _of_objects([_parsed(line) for line in lines if line.strip()])


def read_first_objects(path: Path, rows: int) -> pd.DataFrame:
    """The first rows of a JSON list of objects in UTF-8, fewer where objects are long.

    Raises:
        ValueError: it is no list.
    """
    with path.open("rb") as file:
        head = file.read(rows * _OBJECT_BYTES).decode("utf-8-sig", errors="replace").lstrip()
    if not head.startswith("["):
        raise ValueError("JSON that is no list has no beginning that could be read alone")
    check_depth(head)
    decoder, place = json.JSONDecoder(parse_int=_whole), 1
    found: list[Any] = []
    with suppress(json.JSONDecodeError):  # the end, or an object that is cut off
        while len(found) < rows:
            row, place = decoder.raw_decode(head, _past(head, place))
            found.append(row)
    return _of_objects(found)


def _past(text: str, place: int) -> int:
    """The place behind blanks and commas."""
    between = _BETWEEN.match(text, place)
    return between.end() if between else place


def _read_json_lines(path: Path) -> pd.DataFrame:
    return _of_objects([_parsed(line) for line in lines_of(read_text(path)) if line.strip()])


def _read_json(path: Path) -> pd.DataFrame:
    return _of_objects(rows_of_videos(_parsed(read_text(path))))


def _parsed(text: str) -> Any:
    check_depth(text)
    return json.loads(text, parse_int=_whole)


def _whole(digits: str) -> int:
    """A whole number as a column can hold it.

    Raises:
        ValueError: it has more than 64 bits.
    """
    number = int(digits)
    if number.bit_length() > _WHOLE_BITS:
        raise ValueError(f"a whole number beyond 64 bits, {digits[:20]}...")
    return number


def _of_objects(rows: object) -> pd.DataFrame:
    """A table of JSON objects; cells of text columns are as they stand there."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected objects, one a row")
    frame = pd.DataFrame(rows)
    for name in STRINGS.intersection(frame.columns):
        cells = [row.get(name) for row in rows]  # as they stand: a 7 beside a gap is no 7.0
        frame[name] = pd.Series(cells, index=frame.index, dtype=object)
    return frame


def fill_text(frame: pd.DataFrame, *, keep_lists: bool = False) -> pd.DataFrame:
    """Let text columns hold text alone: "" where nothing stands, and the first text of a list.

    Args:
        frame: changed in place.
        keep_lists: lists stay, with what stands in them.
    """
    for name in STRINGS.intersection(frame.columns):
        values = frame[name]
        if values.dtype != "str" or values.isna().any():  # of a million texts this takes seconds
            cells = values.astype(object).where(values.notna(), "")
            if not cells.map(_is_list).any():
                frame[name] = cells.astype(str)
            elif keep_lists:
                frame[name] = cells.map(_text_or_list)
            else:
                frame[name] = cells.map(first_text).astype(str)
    return frame


def texts_of(cell: Any) -> list[str]:
    """The texts of a cell: of a list, as JSON and Parquet have them, or the one that it is."""
    items = cell if _is_list(cell) else [cell]
    return ["" if item is None else str(item) for item in items]


def first_text(cell: Any) -> str:
    """The first of the texts of a cell; "" of an empty list."""
    return next(iter(texts_of(cell)), "")


def _text_or_list(cell: Any) -> str | list[Any]:
    if not _is_list(cell):
        return str(cell)
    return cell.tolist() if isinstance(cell, np.ndarray) else list(cell)


def _is_list(cell: Any) -> bool:
    return isinstance(cell, list | np.ndarray)


# what they give still goes through `fill_text`
READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".jsonl": _read_json_lines,
    ".json": _read_json,
}
