"""Files of the latent and embedding stores: safetensors that say who wrote them, and checksums.

A store folder holds `*.safetensors` files and `index.parquet`. Each file carries one JSON record
in its header (`identity` of the encoder, what the rows are, a checksum per row); the index repeats
per row what a reader needs and holds, per file, its size and the hash of its header.
"""

import hashlib
import json
import shutil
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from opensora.core.errors import ConfigError
from opensora.core.io import atomic_path

INDEX_NAME = "index.parquet"
PARTIAL_SUFFIX = ".partial"  # of a folder that is being filled; no reader looks into it
FILE_BYTES = 256 << 20  # about as much goes into one file
# safetensors does not order the keys of its metadata; a single one keeps the bytes the same
_RECORD = "opensora"
_INDEX_METADATA = b"opensora_store"
_WORD_BYTES = 8
_LINE_BYTES = 512 * _WORD_BYTES
CHECKSUM = "crc32 of sums"  # how `checksum` works; older stores say nothing


def write_store_file(path: Path, tensors: dict[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write tensors and their record atomically; equal content gives equal bytes."""
    text = json.dumps(record, sort_keys=True)
    with atomic_path(path) as temporary:
        metadata = {_RECORD: json.dumps([_sha256(text), text])}
        save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata)


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the record of a finished store file, or None where it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            digest, text = json.loads(file.metadata()[_RECORD])
        record: dict[str, Any] = json.loads(text)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return record if digest == _sha256(text) else None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def map_tensors(path: Path) -> dict[str, Tensor] | None:
    """Return the tensors of a file by memory map, or None where it is missing or unreadable.

    No byte is read and no file handle stays open; the map lives as long as a tensor does.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no dict
    except (OSError, SafetensorError, RuntimeError):
        return None


def as_bytes(tensor: Tensor, ndim: int = 1) -> np.ndarray:
    """View a contiguous CPU tensor as uint8, [bytes] or, with ndim 2, [len(tensor), bytes]."""
    rows = tensor.reshape(len(tensor), -1) if ndim == 2 else tensor.reshape(-1)
    return rows.view(torch.uint8).numpy()


def checksum(*parts: np.ndarray) -> int:
    """Checksum of some bytes, as an int64: of the words and of their places.

    The 64-bit words of a part stand in a table of 512 columns. The sums of its columns, mod 2**64,
    and the bytes beyond its last line go into one crc32, the sums of its lines into another: two
    passes of vector additions, several times as fast as crc32 over all bytes. A flipped bit
    changes a run of at most 64 bits in one sum of each kind, which crc32 always finds; exchanged
    words change two sums, which it misses once in 2**32 or less.

    Args:
        parts: uint8 [bytes] each.
    """
    columns = lines = 0
    for part in parts:
        whole = len(part) // _LINE_BYTES * _LINE_BYTES
        if whole:
            table = part[:whole].view("<u8").reshape(-1, _LINE_BYTES // _WORD_BYTES)
            columns = zlib.crc32(np.add.reduce(table, axis=0), columns)
            lines = zlib.crc32(np.einsum("ij->i", table), lines)  # faster than reduce
        columns = zlib.crc32(part[whole:].data, columns)
    return ((lines << 32 | columns) + 2**63) % 2**64 - 2**63


def write_index(folder: Path, rows: pd.DataFrame, identity: Mapping[str, Any]) -> None:
    """Write `folder/index.parquet` for the files that `rows` names in column `file`."""
    files = {
        name: {"size": (folder / name).stat().st_size, "header": header_hash(folder / name)}
        for name in sorted(set(rows["file"]))
    }
    facts = {"identity": dict(identity), "files": files, "checksum": CHECKSUM}
    record = json.dumps(facts, sort_keys=True)
    table = pa.Table.from_pandas(rows, preserve_index=False)
    with atomic_path(folder / INDEX_NAME) as temporary:
        pq.write_table(table.replace_schema_metadata({_INDEX_METADATA: record}), temporary)


def header_hash(path: Path) -> str:
    """SHA-256 of the length field and the JSON header of a safetensors file."""
    with open(path, "rb") as file:
        length = file.read(_WORD_BYTES)
        size = min(int.from_bytes(length, "little"), path.stat().st_size)
        return hashlib.sha256(length + file.read(size)).hexdigest()


def read_store_index(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read `folder/index.parquet`: its rows; `identity`, `files`, `checksum` as they were written.

    Raises:
        OSError, KeyError, TypeError, ValueError: it is damaged, or no index of a store.
    """
    table = pq.read_table(folder / INDEX_NAME)
    return table.to_pandas(), json.loads(table.schema.metadata[_INDEX_METADATA])


@contextmanager
def under_construction(folder: Path) -> Iterator[Path]:
    """Yield `{folder}.partial`, holding what earlier runs finished; put it in place on success.

    A workflow manager deletes the outputs of a failed job; the partial folder is not one of them.
    """
    work = folder.with_name(f"{folder.name}{PARTIAL_SUFFIX}")
    if folder.is_dir() and not work.exists():
        folder.rename(work)  # a second run reuses what is there
    work.mkdir(parents=True, exist_ok=True)
    index = work / INDEX_NAME
    index.unlink(missing_ok=True)
    try:
        yield work
    except BaseException:
        index.unlink(missing_ok=True)  # a reader must not take a part for the whole
        raise
    if folder.is_dir():
        shutil.rmtree(folder)
    work.rename(folder)


def remove_stale(work: Path, names: Collection[str]) -> None:
    """Delete store files and pictures that belong to nothing in the new store."""
    for pattern in ("*.safetensors", "*.png"):
        for path in work.glob(pattern):
            if path.name not in names:
                path.unlink()


def check_shard(shard: int, num_shards: int) -> None:
    """Refuse a shard that does not exist.

    Raises:
        ConfigError: expected 0 <= shard < num_shards.
    """
    if not 0 <= shard < num_shards:
        raise ConfigError(
            f"--shard {shard} --num-shards {num_shards}: expected 0 <= shard < num-shards"
        )
