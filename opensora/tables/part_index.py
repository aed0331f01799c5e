"""The index of a folder of partitions: one file that changes when any of them does.

A job that reads all partitions depends on it, and not on each: of N partitions and N jobs that read
them one by one Snakemake makes some N x N comparisons.
"""

from collections.abc import Sequence
from pathlib import Path

from opensora.core.errors import OpenSoraError, TableError
from opensora.core.io import read_json, sha256_file, write_json
from opensora.core.seal import is_as_sealed, sealed

INDEX = "index.json"  # in the folder
_PARTS = "partitions"


def write_index(folder: str | Path, files: Sequence[Path]) -> None:
    """Write bytes and sha256 of each partition, once all are in their places.

    Args:
        folder: of the partitions.
        files: all of them.
    """
    facts = {
        file.name: {"bytes": file.stat().st_size, "sha256": sha256_file(file)} for file in files
    }
    write_json(Path(folder) / INDEX, sealed({_PARTS: facts}))


def renew_index(folder: str | Path) -> None:
    """Write the index of a folder that has one again, after rows were taken out of partitions."""
    if (Path(folder) / INDEX).is_file():
        write_index(folder, sorted(Path(folder).glob("[!.]*.parquet")))


def check_index(folder: str | Path, files: Sequence[Path]) -> None:
    """Compare the partitions of a folder with its index; one without an index passes.

    Names and sizes alone: to hash them takes longer than to read the columns that are needed, and
    a flipped bit is seen where rows are read (`tables.parquet`).

    Args:
        folder: of the partitions.
        files: those that are there.

    Raises:
        TableError: one is missing, too many or of another size, or the index is damaged.
    """
    path = Path(folder) / INDEX
    if not path.is_file():
        return
    try:
        known = read_json(path)
        sizes = {name: int(facts["bytes"]) for name, facts in known[_PARTS].items()}
        sound = is_as_sealed(known)
    except (OpenSoraError, AttributeError, KeyError, TypeError, ValueError):
        sizes, sound = {}, False
    if not sound:
        raise TableError(f"{path}: is not what was written; make the tables beside it anew")
    found = {file.name: file.stat().st_size for file in files}
    for name in sorted(sizes.keys() | found.keys()):
        if sizes.get(name) != found.get(name):
            what = "is missing" if name not in found else f"is not the one that {INDEX} names"
            raise TableError(
                f"{Path(folder) / name}: {what}; make the tables of this folder anew"
                " (in a run: `--forcerun build_manifest`, or import_manifest)"
            )
