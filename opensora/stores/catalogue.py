"""Find rows in a store that runs share, and add files to it. Nothing here loads torch.

`{store}/{address}/{part}/` holds data files `{name}.safetensors`. Beside each stand its facts,
`{name}.json` (what the gate measured, with a picture `{name}.png`), and last of all its index,
`{name}.parquet`: a row a key. Without the index a data file is not there: what a killed job left
is made again. Nobody changes a file. Jobs and runs that make the same rows at once write aside; the
first file stays, and the index of each job names the rows of that one.
"""

import json
import logging
import os
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from opensora.core.errors import StoreError
from opensora.core.io import atomic_path, read_json, write_json
from opensora.stores.index import CHECKSUM, METADATA, header_hash
from opensora.stores.keys import FILE_BYTES, KEY
from opensora.tables.parquet import metadata_of, open_rows, read_metadata, write_rows

log = logging.getLogger(__name__)

IDENTITY_NAME = "identity.json"
_ROWS = "rows"  # of the whole file
MAX_SMALL = 16  # files below half a full one, before they are joined
_LISTINGS = 3  # how often to look again when files go away meanwhile
_ROW = {KEY: "str", "file": "str", "row": "int64", "checksum": "int64"}


class Catalogue:
    """The rows of one address.

    Args:
        folder: of the address; made when something is added.
        part: folder in it where this job adds, and looks first.

    Attributes:
        files: of each file that was found or added, its size and the hash of its header.
    """

    def __init__(self, folder: Path, part: str) -> None:
        self.folder, self.part = folder, part
        self.files: dict[str, dict[str, Any]] = {}

    def identity(self) -> dict[str, Any] | None:
        """What the encoder said of itself when it was loaded; None before that.

        Raises:
            OpenSoraError: the file is no JSON.
        """
        path = self.folder / IDENTITY_NAME
        return read_json(path) if path.is_file() else None

    def keep_identity(self, identity: Mapping[str, Any]) -> None:
        """Write down what the encoder says of itself; the first one that did so counts.

        Raises:
            StoreError: it said something else before.
        """
        with new_file(self.folder / IDENTITY_NAME) as temporary:
            write_json(temporary, identity)
        kept = self.identity() or {}
        for name in sorted({*kept, *identity}):
            if kept.get(name) != identity.get(name):
                raise StoreError(
                    f"{self.folder}: was filled with {name} {kept.get(name)!r} and the encoder now"
                    f" says {identity.get(name)!r}; install the versions of requirements/lock.txt,"
                    " or move the folder away to encode anew"
                )

    def find(self, keys: Iterable[str]) -> pd.DataFrame:
        """Look up rows, in the own part first and in the others where some are missing.

        Args:
            keys: what is wanted.

        Returns:
            A row for each key that was found: key, file (relative to `folder`), row, checksum, and
            what else the index of the file says. Of several files the one with more rows counts.
        """
        wanted = set(keys)
        own = self._search(wanted, lambda part: part == self.part)
        missing = wanted.difference(own[KEY])
        if not missing:
            return own
        others = self._search(missing, lambda part: part != self.part)
        parts = [part for part in (own, others) if len(part)]
        return pd.concat(parts, ignore_index=True) if parts else own

    def facts(self, file: str) -> dict[str, Any]:
        """What the gate measured on a data file."""
        found: dict[str, Any] = read_json(self.folder / Path(file).with_suffix(".json"))
        return found

    def rows_of(self, file: str) -> int:
        """How many rows a data file has, those of other runs too."""
        return int(self.files[file][_ROWS])

    def small_files(self, files: Sequence[str], full: int) -> list[str]:
        """Files of one bucket, or of texts, that should be joined; [] where they are few.

        Args:
            files: that a job's rows are in.
            full: rows of a full file.
        """
        small = [
            file
            for file in sorted(files)
            if 2 * self.rows_of(file) < full and 2 * self.files[file]["size"] < FILE_BYTES
        ]
        return small if len(small) > MAX_SMALL else []

    def path_of(self, file: str) -> Path:
        """Where a data file of the own part stands, or will stand."""
        return self.folder / self.part / file

    def add(
        self, path: Path, rows: pd.DataFrame, facts: Mapping[str, Any], picture: Path | None = None
    ) -> pd.DataFrame:
        """Enter a data file that stands in its place; what another job entered stays.

        Args:
            path: the data file.
            rows: key, row, checksum and more, as its own record says.
            facts: what the gate measured on it.
            picture: a PNG in the same folder, which is moved beside it.

        Returns:
            The rows as `find` returns them.
        """
        record = _record_of(path) | {_ROWS: len(rows)}
        index = path.with_suffix(".parquet")
        facts_path = path.with_suffix(".json")
        # none, or that of a file that was lost
        if _read_record(index) != record or not facts_path.is_file():
            write_json(facts_path, facts)
            if picture is not None:
                os.replace(picture, path.with_suffix(".png"))
            table = pa.Table.from_pandas(rows, preserve_index=False)
            metadata = {METADATA: json.dumps(record, sort_keys=True)}
            with atomic_path(index) as temporary:
                write_rows(table.replace_schema_metadata(metadata), temporary)
        if picture is not None:
            picture.unlink(missing_ok=True)
        name = str(path.relative_to(self.folder))
        self.files[name] = record
        return rows.assign(file=name)

    def _search(self, wanted: Collection[str], is_meant: Any) -> pd.DataFrame:
        """Rows of the parts whose names are meant."""
        found: list[pd.DataFrame] = []
        for _ in range(_LISTINGS if wanted else 0):
            found, is_complete = [], True
            for index in self._indexes(is_meant):
                try:
                    rows = self._rows_in(index, wanted)
                except FileNotFoundError:  # swept since it was listed: others may hold the rows
                    is_complete = False
                    continue
                if rows is not None:
                    found.append(rows)
            if is_complete:
                break
        if not found:
            return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _ROW.items()})
        rows = pd.concat(found, ignore_index=True)
        rows = rows.sort_values([_ROWS, "file"], ascending=[False, True], kind="stable")
        return rows.drop_duplicates(KEY).drop(columns=_ROWS).reset_index(drop=True)

    def _indexes(self, is_meant: Any) -> Iterator[Path]:
        if not self.folder.is_dir():
            return
        for part in sorted(path for path in self.folder.iterdir() if path.is_dir()):
            if is_meant(part.name):
                yield from sorted(
                    path for path in part.glob("*.parquet") if not path.name.startswith(".")
                )

    def _rows_in(self, index: Path, wanted: Collection[str]) -> pd.DataFrame | None:
        """The wanted rows of one data file; None where it has none, or is not what it was."""
        try:
            with open_rows(index) as file:
                record = json.loads(metadata_of(file)[METADATA])
                keys = file.read(columns=[KEY])[KEY].to_pylist()
                places = [place for place, key in enumerate(keys) if key in wanted]
                if not places:
                    return None
                rows = file.read().take(places).to_pandas()
        except FileNotFoundError:
            raise
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("store file left out path=%s error=%s", index, error)
            return None
        data = index.with_suffix(".safetensors")
        if not index.with_suffix(".json").is_file() or record != _record_of(data) | {
            _ROWS: len(keys)
        }:
            log.warning("store file left out path=%s: missing, or not as it was written", data)
            return None
        name = str(data.relative_to(self.folder))
        self.files[name] = record
        return rows.assign(file=name, **{_ROWS: len(keys)})


def _record_of(path: Path) -> dict[str, Any]:
    """Size and header of a data file; {} where there is none."""
    try:
        return {
            "size": path.stat().st_size,
            "header": header_hash(path),
            "checksum": CHECKSUM,
        }
    except FileNotFoundError:
        return {}


def _read_record(index: Path) -> Any:
    try:
        return json.loads(read_metadata(index)[METADATA])
    except (OSError, ValueError, TypeError, KeyError):
        return None


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; put it in place unless another job did so first.

    A link is made in one step on a shared folder too, and never takes the place of a file.
    """
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.aside")
    with atomic_path(aside) as temporary:
        yield temporary
    try:
        os.link(aside, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        if not path.exists():
            os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
