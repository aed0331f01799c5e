"""Read and write tables: CSV, or Parquet where the name ends so; JSON and JSON lines are read."""

import csv
from collections.abc import Collection
from pathlib import Path

import pandas as pd
import pyarrow as pa

from opensora.core import limits
from opensora.core.errors import TableError
from opensora.core.io import atomic_path
from opensora.core.text_files import TextEncodingError
from opensora.tables.checks import complaint, complaint_of_reasons
from opensora.tables.columns import CLIPS, PATH, SPELLINGS, STRINGS, More, Table
from opensora.tables.parquet import open_rows, read_rows, write_rows
from opensora.tables.schema import schema_of, to_arrow
from opensora.tables.text_tables import (
    READERS,
    fill_text,
    read_csv,
    read_first_lines,
    read_first_objects,
)

PARQUET = ".parquet"
_CHUNK_BYTES = 1 << 20
_OF_CLIPS = ", and `opensora ingest-videos` begins with a table of paths (docs/curation.md)"
_GROUP_ROWS = 1 << 17  # rows of a group; part of what makes equal rows equal bytes


def read_table(
    path: str | Path,
    table: Table | None = None,
    *,
    columns: Collection[str] | None = None,
    keep_lists: bool = False,
) -> pd.DataFrame:
    """Read a table; text columns stay text and their empty cells are "".

    Args:
        path: a `.parquet` file; `.jsonl`, an object a line; `.json`, a list of them; anything else
            is CSV, with semicolons or tabs where its first line has no comma. Capitals of the
            suffix do not matter. Texts are UTF-8, or as their byte order mark says.
        table: the columns to expect; None takes what comes.
        columns: of a Parquet file only these are read, where they are there; None reads all.
        keep_lists: a list in a text column stays one; else its first text is the cell's.

    Raises:
        TableError: the file is missing, unreadable, or lacks a column.
    """
    path = Path(path)
    made_by = f"; rule {table.rule} makes it" if table else ""
    if path.is_dir():
        raise TableError(f"{path}: is a folder; name a table in it{made_by}")
    if not path.is_file():
        raise TableError(f"{path}: no such table{made_by}")
    try:
        _check_rows(path)
        if is_parquet(path):
            frame = to_frame(read_parquet(path, columns), keep_lists=keep_lists)
        elif reader := READERS.get(path.suffix.lower()):
            frame = fill_text(reader(path), keep_lists=keep_lists)
        else:
            frame = read_csv(path)
    except TextEncodingError as error:
        raise TableError(f"{error}{made_by}") from error
    except (ValueError, OSError, RecursionError, pa.ArrowException) as error:
        raise TableError(f"{path}: not a readable table ({str(error).strip()}){made_by}") from error
    if table is not None:
        missing = [name for name in table.columns if name not in frame.columns]
        if missing:
            own = _OF_CLIPS if table is CLIPS and PATH in frame.columns else ""
            raise TableError(f"{path}: column {missing[0]!r} is missing{made_by}{own}")
        if fault := complaint(frame, table):
            raise TableError(f"{path}: {fault}{made_by}")
    return frame


def read_head(path: str | Path, rows: int) -> pd.DataFrame:
    """The first rows of a table without a look at the others, to see what it is.

    Raises:
        TableError: it can not be read, or is JSON that is no list.
    """
    path = Path(path)
    try:
        if is_parquet(path):
            with open_rows(path) as file:
                first = next(file.iter_batches(rows), None)
                return to_frame(pa.Table.from_batches([first] if first else [], file.schema_arrow))
        if path.suffix.lower() == ".jsonl":
            return fill_text(read_first_lines(path, rows))
        if path.suffix.lower() in READERS:
            return fill_text(read_first_objects(path, rows))
        return read_csv(path, rows)
    except (ValueError, OSError, RecursionError, pa.ArrowException) as error:
        raise TableError(f"{path}: not a readable table ({str(error).strip()})") from error


def is_parquet(path: str | Path) -> bool:
    """Whether a table of this name is Parquet."""
    return Path(path).suffix.lower() == PARQUET


def write_table(frame: pd.DataFrame, path: str | Path, table: Table | None = None) -> None:
    """Write a table atomically, its columns in the table's order; equal rows give equal bytes.

    Raises:
        TableError: the name is that of a format that is only read, a column of the table is
            missing, one is there that it does not know, a cell of a Parquet file is not of its
            column's type, or a reason is none of ours.
    """
    path = Path(path)
    if path.suffix.lower() in READERS:  # what is written below would not be read as such
        raise TableError(f"{path}: tables are written as .csv or .parquet; name one")
    if table is not None:
        frame = ordered(frame, path, table)
        if fault := complaint_of_reasons(frame, table):
            raise TableError(f"{path}: {fault}")
    if is_parquet(path):
        rows = typed(frame, path, schema_of(frame, table))
        with atomic_path(path) as temporary:
            write_parquet(rows, temporary)
    else:
        with atomic_path(path) as temporary:
            frame.to_csv(temporary, index=False, lineterminator="\n")
            if _has_carriage_return(temporary):  # a reader would take it for the end of a row
                frame.to_csv(temporary, index=False, lineterminator="\n", quoting=csv.QUOTE_ALL)


def typed(frame: pd.DataFrame, path: Path, schema: pa.Schema) -> pa.Table:
    """The frame as it is written into a Parquet file; errors name the file."""
    try:
        return to_arrow(frame, schema)
    except TableError as error:
        raise TableError(f"{path}: {error}") from error


def write_parquet(rows: pa.Table, path: Path) -> None:
    """Write rows in place; nothing but they and the version of pyarrow decides the bytes."""
    write_rows(rows, path, compression="zstd", compression_level=3, row_group_size=_GROUP_ROWS)


def read_parquet(path: Path, columns: Collection[str] | None = None) -> pa.Table:
    """Read a Parquet file, or those of the columns that are there."""
    rows = read_rows(path, columns)
    rows.validate(full=True)  # else damaged text is found where somebody looks at it
    return rows


def to_frame(rows: pa.Table, *, keep_lists: bool = False) -> pd.DataFrame:
    """Arrow as a frame; empty cells of text columns are "", and an index of pandas is left out."""
    for place, field in enumerate(rows.schema):  # whole numbers with a gap would become "7.0"
        if field.name in STRINGS and pa.types.is_integer(field.type):
            rows = rows.set_column(place, field.name, rows.column(place).cast(pa.string()))
    frame = rows.to_pandas(ignore_metadata=True)
    frame = frame.loc[:, ~frame.columns.str.startswith("__index_level_")]
    return fill_text(frame, keep_lists=keep_lists)


def _has_carriage_return(path: Path) -> bool:
    with path.open("rb") as file:
        return any(b"\r" in chunk for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""))


def ordered(frame: pd.DataFrame, path: Path, table: Table) -> pd.DataFrame:
    """The columns of a table in its order.

    Raises:
        TableError: a column of the table is missing, or one is there that it does not know.
    """
    missing = [name for name in table.columns if name not in frame.columns]
    if missing:
        raise TableError(f"{path}: table {table.name} needs the column {missing[0]!r}")
    extra = [name for name in frame.columns if name not in table.columns]
    strange = [name for name in extra if name not in table.optional]
    if strange and table.more is More.NOTHING:
        raise TableError(f"{path}: table {table.name} has no column {strange[0]!r}")
    return frame[[*table.columns, *extra]]


def _check_rows(path: Path) -> None:
    """Refuse a table of more rows than fit memory, before it is read.

    Raises:
        ValueError: there are too many; of a text its lines count.
    """
    if is_parquet(path):
        with open_rows(path) as file:
            rows = file.metadata.num_rows
    elif path.stat().st_size <= limits.TABLE_ROWS:  # a row has its end at least
        return
    else:
        with path.open("rb") as text:
            rows = sum(part.count(b"\n") for part in iter(lambda: text.read(_CHUNK_BYTES), b""))
    if rows > limits.TABLE_ROWS:
        raise ValueError(f"{rows:,} rows; at most {limits.TABLE_ROWS:,} are read; split the table")


def with_known_names(frame: pd.DataFrame) -> pd.DataFrame:
    """Rename what other projects call `path` and `text`."""
    for name, spellings in SPELLINGS.items():
        there = next((spelling for spelling in spellings if spelling in frame.columns), name)
        if name not in frame.columns:
            frame = frame.rename(columns={there: name})
    return frame
