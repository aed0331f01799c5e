"""A table in a folder of Parquet files, one partition a shard, named by it: `0003.parquet`."""

import re
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pyarrow as pa

from opensora.core.errors import ConfigError, TableError
from opensora.core.io import atomic_path
from opensora.tables.columns import MANIFEST, SHARD, Table
from opensora.tables.io import (
    PARQUET,
    ordered,
    read_parquet,
    to_frame,
    typed,
    write_parquet,
    write_table,
)
from opensora.tables.parquet import read_metadata
from opensora.tables.part_index import INDEX, check_index, write_index
from opensora.tables.schema import MARK, schema_of

ANY_SHARD = "{shard}"  # in names of tables


def is_folder_name(path: str | Path) -> bool:
    """Whether a table of this name is a folder of partitions, and not one file."""
    return Path(path).suffix.lower() not in (PARQUET, ".csv")


def shard_names(num_shards: int) -> list[str]:
    """Names of numbered partitions: 0000, 0001, ..."""
    return [f"{shard:04d}" for shard in range(num_shards)]


def tables_of_shards(paths: Sequence[str | Path], num_shards: int | None, option: str) -> list[str]:
    """Name the tables that a command reads; `clips/{shard}.parquet` stands for those of all shards.

    A thousand names do not fit on a command line.

    Args:
        paths: as they were given.
        num_shards: how many shards there are; None where nobody said so.
        option: under which the paths were given, for the error.

    Raises:
        ConfigError: `{shard}` stands in a name and the number of shards is unknown.
    """
    names: list[str] = []
    for path in map(str, paths):
        if ANY_SHARD not in path:
            names.append(path)
        elif num_shards is None or num_shards < 1:
            raise ConfigError(f"{option} {path}: give --num-shards N too, as there are shards")
        else:
            names += [path.replace(ANY_SHARD, name) for name in shard_names(num_shards)]
    return names


def write_parts(
    frame: pd.DataFrame,
    path: str | Path,
    table: Table,
    parts: pd.Series,
    names: Sequence[str],
    *,
    index: bool = False,
) -> None:
    """Write a table into one file, or where the path names a folder as one partition a shard.

    All partitions have the schema of the whole table, empty ones too, and take their places
    together; those of an earlier table that has more are removed.

    Args:
        frame: the rows.
        path: a `.csv` or `.parquet` file, or a folder.
        table: what is written.
        parts: name of the partition of each row; those of a file do not matter.
        names: of all partitions, empty ones too.
        index: a folder also gets the file on which those depend who read all of it.

    Raises:
        TableError: the folder holds Parquet files of another table, or see `check_part_names` and
            `write_table`.
        ValueError: a row's partition has no name.
    """
    if not is_folder_name(path):
        write_table(frame, path, table)
        return
    check_part_names(path, names)
    folder = Path(path)
    files = {name: folder / f"{name}{PARQUET}" for name in names}
    older = [file for file in sorted(folder.glob(f"*{PARQUET}")) if not _is_hidden(file)]
    strange = [file for file in older if _table_name(file) != table.name]
    if strange:
        raise TableError(
            f"{strange[0]}: is no partition of a table {table.name}; give a folder of its own"
        )
    frame = ordered(frame, folder, table)
    rows = typed(frame, folder, schema_of(frame, table))
    places = parts.reset_index(drop=True).groupby(parts.to_numpy(dtype=object)).indices
    if unknown := [name for name in places if name not in files]:
        raise ValueError(f"rows of the partition {unknown[0]!r}, which is not among the names")
    with ExitStack() as stack:  # they are put in place when all are written
        for name, file in files.items():
            temporary = stack.enter_context(atomic_path(file))
            write_parquet(rows.take(pa.array(places.get(name, []), pa.int64())), temporary)
    for file in set(older) - set(files.values()):
        file.unlink()
    if index:
        write_index(folder / INDEX, list(files.values()))
    else:
        (folder / INDEX).unlink(missing_ok=True)


def read_parts(
    folder: str | Path, columns: Collection[str] | None = None, *, shard: int | None = None
) -> pd.DataFrame:
    """Read the partitions of a folder in the order of their names.

    Args:
        folder: its `*.parquet` are read.
        columns: only these, where they are there; None reads all.
        shard: only the partition of this number; None reads all, which are those of the index
            where the folder has one.

    Returns:
        All rows, with the number in the name of their file in the column `shard`.

    Raises:
        TableError: there is none (of this number), one is unreadable, has no number or that of
            another, or other columns than the first, or see `check_index`.
    """
    files = [file for file in sorted(Path(folder).glob(f"*{PARQUET}")) if not _is_hidden(file)]
    if not files:
        raise TableError(f"{folder}: no partition of a table in it; expected 0000{PARQUET}, ...")
    tables: list[pa.Table] = []
    parts = _numbered(files)
    if shard is not None:
        if shard not in parts:
            raise TableError(f"{folder}: no partition of shard {shard} in it; make it anew")
        parts = {shard: parts[shard]}
    else:
        if (Path(folder) / INDEX).is_file():
            check_index(Path(folder) / INDEX, files, MANIFEST.rule)
    for number, file in parts.items():
        try:
            rows = read_parquet(file, columns).replace_schema_metadata(None)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise TableError(f"{file}: not a readable table ({error})") from error
        rows = rows.drop_columns([SHARD]) if SHARD in rows.column_names else rows
        tables.append(rows.append_column(SHARD, pa.array([number] * len(rows), pa.int64())))
        _check_columns(tables[0], rows.column_names, files[0], file)
    try:  # of other writers a column may be without a type where it has no value
        whole = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise TableError(f"{folder}: the partitions do not fit together ({error})") from error
    return to_frame(whole)


def check_part_names(path: str | Path, names: Sequence[str]) -> None:
    """Refuse names of partitions that a reader could not number; those of one file do not matter.

    Raises:
        TableError: a name has no number, or that of another one.
    """
    if is_folder_name(path):
        _numbered([Path(path) / f"{name}{PARQUET}" for name in names])


def _numbered(files: Sequence[Path]) -> dict[int, Path]:
    """Partitions by the number in their names."""
    found: dict[int, Path] = {}
    for file in files:
        number = re.search(r"\d+", file.stem)
        if number is None:
            raise TableError(f"{file}: a partition is named by its number, as 0000{PARQUET}")
        other = found.setdefault(int(number[0]), file)
        if other is not file:
            raise TableError(f"{file}: has the number of {other.name}; each needs its own")
    return found


def _check_columns(first: pa.Table, names: Sequence[str], one: Path, other: Path) -> None:
    differing = set(first.column_names) - {SHARD} ^ set(names)
    if differing:
        name = min(differing)
        raise TableError(f"{other}: only {one.name} or it has a column {name!r}; make both anew")


def _is_hidden(file: Path) -> bool:
    """A file that is being written, or was when its writer was killed."""
    return file.name.startswith(".")


def _table_name(file: Path) -> str | None:
    """Name of the table that a file of ours holds."""
    try:
        metadata = read_metadata(file)
    except (pa.ArrowException, OSError, ValueError):
        return None
    return metadata.get(MARK, b"").decode() or None
