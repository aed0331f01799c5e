"""An index of tables: one file that changes when any of them does.

A job that reads the tables of all shards depends on it, and not on each. Of N tables that a rule
reads and N that it writes Snakemake makes some N x N comparisons, and writes the names and hashes
of the first beside each of the second.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from opensora.core.errors import OpenSoraError, TableError
from opensora.core.io import read_json, sha256_file, write_json
from opensora.core.seal import is_as_sealed, sealed

INDEX = "index.json"  # in a folder of partitions
_TABLES = "tables"


def write_index(path: str | Path, files: Sequence[str | Path]) -> int:
    """Write bytes and sha256 of each table, once all are in their places.

    Args:
        path: of the index; names in it are relative to its folder.
        files: the tables.

    Returns:
        Bytes of all tables.

    Raises:
        TableError: there is no such table, or it can not be read.
    """
    facts, total = {}, 0
    for file in files:
        try:
            size = os.stat(file).st_size
            facts[_name(path, file)] = {"bytes": size, "sha256": sha256_file(file)}
            total += size
        except OSError as error:
            raise TableError(f"{file}: can not be read ({error.strerror})") from error
    write_json(path, sealed({_TABLES: facts}))
    return total


def renew_index(folder: str | Path) -> None:
    """Write the index of a folder that has one again, after rows were taken out of partitions."""
    if (Path(folder) / INDEX).is_file():
        write_index(Path(folder) / INDEX, sorted(Path(folder).glob("[!.]*.parquet")))


def check_index(path: str | Path, files: Sequence[str | Path], made_by: str) -> None:
    """Compare tables with their index.

    Names and sizes alone: to hash them takes longer than to read the columns that are needed, and
    a flipped bit is seen where rows are read (`tables.parquet`).

    Args:
        path: of the index.
        files: the tables that are to be read, or are there.
        made_by: rule of a run that makes the index anew.

    Raises:
        TableError: one is missing, too many or of another size, or the index is missing or damaged.
    """
    try:
        known = read_json(path)
        sizes = {name: int(facts["bytes"]) for name, facts in known[_TABLES].items()}
        sound = is_as_sealed(known)
    except (OpenSoraError, AttributeError, KeyError, TypeError, ValueError):
        sizes, sound = {}, False
    if not sound:
        raise TableError(f"{path}: is not what was written; make it anew (rule {made_by})")
    found = {_name(path, file): _size(file) for file in files}
    for name in sorted(sizes.keys() | found.keys()):
        if sizes.get(name) != found.get(name):
            what = "is missing" if found.get(name) is None else f"is not what {path} names"
            raise TableError(
                f"{Path(path).parent / name}: {what}; make both anew"
                f" (in a run: `--forcerun {made_by}`)"
            )


def _name(path: str | Path, file: str | Path) -> str:
    return Path(os.path.relpath(file, Path(path).parent)).as_posix()


def _size(file: str | Path) -> int | None:
    try:
        return os.stat(file).st_size
    except OSError:
        return None
