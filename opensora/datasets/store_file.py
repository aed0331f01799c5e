"""Files of the latent and embedding stores: safetensors that say who wrote them, and checksums.

A store folder holds `*.safetensors` files and `index.parquet`. Each file carries one JSON record
in its header (`identity` of the encoder, `ids`, `crc32` per row); the index repeats per row what a
reader needs and holds, per file, its size and the hash of its header. Opening a file checks these
two; the first read of a row checks its CRC-32. Nothing is read that is not asked for.
"""

import hashlib
import json
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from opensora.core.errors import StoreError
from opensora.core.io import atomic_path

INDEX_NAME = "index.parquet"
# safetensors does not order the keys of its metadata; a single one keeps the bytes the same
_RECORD = "opensora"
_INDEX_METADATA = b"opensora_store"
_MAX_OPEN_FILES = 128


def write_store_file(path: Path, tensors: dict[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write tensors and their record atomically; equal content gives equal bytes."""
    with atomic_path(path) as temporary:
        metadata = {_RECORD: json.dumps(record, sort_keys=True)}
        save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata)


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the record of a finished store file, or None where it is missing or unreadable."""
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()[_RECORD])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def row_crc(row: Tensor) -> int:
    """CRC-32 of a tensor's bytes; finds any single flipped bit."""
    data: Any = row.contiguous().view(-1).view(torch.uint8).numpy()
    return zlib.crc32(data)


def write_index(folder: Path, rows: pd.DataFrame, identity: Mapping[str, Any]) -> None:
    """Write `folder/index.parquet` for the files that `rows` names in column `file`."""
    files = {
        name: {"size": (folder / name).stat().st_size, "header": _header_hash(folder / name)}
        for name in sorted(set(rows["file"]))
    }
    record = json.dumps({"identity": dict(identity), "files": files}, sort_keys=True)
    table = pa.Table.from_pandas(rows, preserve_index=False)
    with atomic_path(folder / INDEX_NAME) as temporary:
        pq.write_table(table.replace_schema_metadata({_INDEX_METADATA: record}), temporary)


def _header_hash(path: Path) -> str:
    """SHA-256 of the length field and the JSON header of a safetensors file."""
    with open(path, "rb") as file:
        length = file.read(8)
        return hashlib.sha256(length + file.read(int.from_bytes(length, "little"))).hexdigest()


class Store:
    """The rows of every `index.parquet` at or below a folder.

    Attributes:
        root: the folder.
        rows: what the indexes say, one row per item; `file` is relative to `root`.
        identity: the encoder that wrote all of it.
    """

    def __init__(self, root: str | Path, *, made_by: str, columns: Mapping[str, str]) -> None:
        """Read the indexes.

        Args:
            root: folder of the store.
            made_by: the rule that fills it, for error messages.
            columns: columns every index has, with their pandas types.
        """
        self.root = Path(root)
        self._made_by = made_by
        self._files: dict[str, dict[str, Any]] = {}
        self._open: OrderedDict[str, Any] = OrderedDict()
        paths = sorted(self.root.rglob(INDEX_NAME))
        if not paths:
            raise StoreError(f"{self.root}: holds no {INDEX_NAME}; rule {made_by} makes it")
        self.identity: dict[str, Any] = {}
        frames = [self._read_index(path, columns) for path in paths]
        self.rows: pd.DataFrame = pd.concat(frames, ignore_index=True).astype(dict(columns))
        self._names = self.rows["file"].tolist()
        self._crcs = self.rows["crc32"].tolist()
        self._checked = [False] * len(self.rows)

    def _read_index(self, path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
        try:
            table = pq.read_table(path)
            record = json.loads(table.schema.metadata[_INDEX_METADATA])
            rows = table.to_pandas()[list(columns)]
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{path}: not a readable store index; delete {path.parent} and run {self._made_by}"
            ) from error
        if len(rows) == 0:
            return rows  # an empty shard knows no encoder that could disagree
        if self.identity:
            require_identity(record["identity"], self.identity, where=path.parent)
        self.identity = record["identity"]
        folder = path.parent.relative_to(self.root)
        self._files |= {str(folder / name): facts for name, facts in record["files"].items()}
        return rows.assign(file=[str(folder / name) for name in rows["file"]])

    def require_identity(self, expected: Mapping[str, Any]) -> None:
        """Refuse the store unless the encoder that wrote it agrees with `expected`.

        Raises:
            StoreError: a field of `expected` differs.
        """
        require_identity(self.identity, expected, where=self.root)

    def read_slice(self, position: int, tensor: str, span: int | slice) -> Tensor:
        """Read the part of a tensor that belongs to row `position` of `rows`.

        Raises:
            StoreError: the file is missing, cut short, or not what the index describes.
        """
        name = self._names[position]
        try:
            part: Tensor = self._file(name).get_slice(tensor)[span]
        except (SafetensorError, OSError, IndexError) as error:
            raise self._damaged(name, str(error)) from error
        if not self._checked[position]:
            if row_crc(part) != self._crcs[position]:
                raise self._damaged(name, f"the checksum of {self.rows['id'].iat[position]} fails")
            self._checked[position] = True
        return part

    def _file(self, name: str) -> Any:
        """Return the memory-mapped file; few stay open, whatever the number of files."""
        if name not in self._open:
            path, facts = self.root / name, self._files[name]
            if not path.is_file():
                raise self._damaged(name, "the file is missing")
            size = path.stat().st_size
            if size != facts["size"]:
                raise self._damaged(name, f"{size} bytes instead of {facts['size']}")
            if _header_hash(path) != facts["header"]:
                raise self._damaged(name, "its header differs from the index")
            self._open[name] = safe_open(path, framework="pt")
            if len(self._open) > _MAX_OPEN_FILES:
                self._open.popitem(last=False)
        self._open.move_to_end(name)
        return self._open[name]

    def _damaged(self, name: str, detail: str) -> StoreError:
        return StoreError(
            f"{self.root / name}: damaged ({detail}); delete it and run {self._made_by} again,"
            " which makes only what is missing"
        )


def require_identity(found: Mapping[str, Any], expected: Mapping[str, Any], *, where: Path) -> None:
    """Compare two encoder identities field by field.

    Raises:
        StoreError: names the first field of `expected` that differs.
    """
    for name, value in expected.items():
        if found.get(name) != value:
            raise StoreError(
                f"{where}: encoded with {name} {found.get(name)!r}, expected {value!r}; use the"
                " same encoder, or delete the folder and encode it again"
            )
