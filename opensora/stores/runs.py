"""A folder of results: its runs, which hold indexes, and the store that they share.

Who frees something of the store has to know what every run names. So whoever asks is refused while
a run goes on, and where one of the indexes can not be read.
"""

import os
from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from opensora.core.errors import OpenSoraError, StoreError, TableError
from opensora.stores.index import read_index
from opensora.tables.columns import PATH
from opensora.tables.io import read_table

CLIPS, LATENTS, EMBEDDINGS = "clips", "latents", "embeddings"
KINDS = (CLIPS, LATENTS, EMBEDDINGS)
_STORE, _LOCKS = "store", ".snakemake/locks"
_OLD_NAME = "index.parquet"  # of the layout before, which names nothing in the store
# tables that name clip files; a manifest may name those of another run
_TABLES_OF_CLIPS = ("clips", "manifest")


class Place(NamedTuple):
    """A data file of the store: its address, part and name."""

    address: str
    part: str
    name: str


class Index(NamedTuple):
    """An index of a run: where it is, its rows and its record."""

    path: Path
    rows: pd.DataFrame
    record: dict[str, Any]

    def place(self, file: str) -> Place | None:
        """Where a file that its rows name stands in the store."""
        parts = Path(file).parts
        return Place(Path(self.record["store"]).name, *parts) if len(parts) == 2 else None


class Results:
    """The runs of a folder, and their store.

    Args:
        folder: of runs and store, `results` of the workflow.

    Raises:
        StoreError: there is no store, no run, or the store is a link.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.store = self.folder / _STORE
        if self.store.is_symlink():
            raise StoreError(
                f"{self.store}: is a link, so that runs of other folders may use what it leads to;"
                " nothing is freed"
            )
        if not self.store.is_dir():
            raise StoreError(f"{self.folder}: holds no store; give the folder of runs and store")
        self.runs = sorted(
            path
            for path in self.folder.iterdir()
            if path.is_dir() and path.name != _STORE and not path.name.startswith(".")
        )
        if not self.runs:
            raise StoreError(
                f"{self.folder}: holds no run that could say what of the store is in use; remove"
                f" {self.store} where nobody needs it"
            )

    def require_idle(self) -> None:
        """Refuse while Snakemake runs on this folder.

        Raises:
            StoreError: it holds its lock.
        """
        given = Path(os.path.abspath(self.folder))
        for workdir in dict.fromkeys((given.parent, given.resolve().parent)):
            locks = sorted((workdir / _LOCKS).glob("*.lock"))
            if locks:
                raise StoreError(
                    f"{self.folder}: {self._holder(locks)} holds its lock ({workdir / _LOCKS});"
                    " wait until it ends; where it was killed, Snakemake's --unlock removes it"
                )

    def _holder(self, locks: list[Path]) -> str:
        names = {run.name for run in self.runs}
        found = set()
        for lock in locks:
            try:
                lines = lock.read_text(encoding="utf-8").splitlines()
            except OSError:  # it ended just now, or belongs to somebody else
                continue
            for line in lines:
                parts = Path(line).parts
                found |= {
                    after
                    for before, after in pairwise(parts)
                    if before == self.folder.name and after in names
                }
        return f"run {', '.join(sorted(found))}" if found else "a run"

    def unfinished(self) -> list[str]:
        """Folders of indexes of which some are missing: Snakemake deletes them before their job."""
        sentences = []
        for run in self.runs:
            config = _config(run)
            stages = [run / LATENTS / stage["name"] for stage in config.get("stages", [])]
            sources = config.get("sources") or []
            ready = [run / "imported" / one["name"] / "manifest" for one in sources]
            ready += [run / "manifest"] if config.get("manifest") else []
            for folder in (run / CLIPS, run / EMBEDDINGS, *stages, *ready):
                count, number = len(list(table_files(folder))), int(config.get("num_shards", 0))
                if folder.is_dir() and count < number:
                    sentences.append(
                        f"run {run.name} lacks {number - count} of {number} indexes in {folder}"
                    )
            tables = [
                run / "fetched" / f"{one['name']}.parquet" for one in sources if one.get("fetch")
            ]
            sentences += [
                f"run {run.name} lacks {table}"
                for table in tables
                if table.parent.is_dir() and not table.is_file()
            ]
        return sentences

    def tables(
        self, run: Path, *names: str, columns: Collection[str] | None = None
    ) -> Iterator[tuple[Path, pd.DataFrame]]:
        """The partitions of some tables of a run, or these columns of theirs.

        Raises:
            StoreError: one can not be read.
        """
        for name in names:
            for path in table_files(run / name):
                try:
                    yield path, read_table(path, columns=columns)
                except TableError as error:
                    raise _unreadable(run, path) from error

    def indexes(self, kind: str) -> Iterator[tuple[Path, Index]]:
        """Run and index of all latents, or embeddings.

        Raises:
            StoreError: one can not be read.
        """
        for run in self.runs:
            folders = [run / kind, *(sorted((run / kind).glob("*/")) if kind == LATENTS else [])]
            for path in (path for folder in folders for path in table_files(folder)):
                try:
                    rows, record = read_index(path)
                    index = Index(path, rows, record)
                    for file in set(rows["file"]) - {""}:
                        index.place(file)
                    _ = record["files"]
                except (OSError, KeyError, TypeError, ValueError) as error:
                    raise _unreadable(run, path) from error
                yield run, index

    def named(self, kind: str) -> set[Place]:
        """The data files of latents or embeddings that an index names, be it for one row.

        Raises:
            StoreError: an index can not be read.
        """
        found: set[Place] = set()
        for run, index in self.indexes(kind):
            for file in set(index.rows["file"]) - {""}:
                place = index.place(file)
                if place is None:
                    raise _unreadable(run, index.path)
                found.add(place)
        return found

    def named_clips(self) -> set[str]:
        """The names of the clip files that tables name; a name in the store is a hash.

        Raises:
            StoreError: a table can not be read.
        """
        found: set[str] = set()
        for run in self.runs:
            for path, table in self.tables(run, *_TABLES_OF_CLIPS, columns=[PATH]):
                if PATH not in table:
                    raise _unreadable(run, path)
                found |= {Path(name).name for name in table[PATH] if name}
        return found


def table_files(folder: Path) -> Iterator[Path]:
    """The tables in a folder, by name; not those that are being written."""
    for path in sorted(folder.glob("*.parquet")):
        if not path.name.startswith(".") and path.name != _OLD_NAME:
            yield path


def _config(run: Path) -> dict[str, Any]:
    """What the run began with; {} of the layout before, which has nothing in the store."""
    try:
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return config if isinstance(config, dict) and "layout" in config else {}


def _unreadable(run: Path, path: Path) -> OpenSoraError:
    return StoreError(
        f"run {run.name}: {path} can not be read, so that it is unknown what it names, and nothing"
        " is freed; delete it and run its rule again, or remove the run"
    )
