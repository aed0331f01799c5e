"""Data files of the latent and embedding stores: safetensors that say what they hold.

Each carries one JSON record in its header: `identity` of the encoder, the `keys` of its rows, a
checksum per row.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from opensora.stores.catalogue import new_file

# safetensors does not order the keys of its metadata; a single one keeps the bytes the same
_RECORD = "opensora"
_WORD_BYTES = 8
_LINE_BYTES = 512 * _WORD_BYTES
# checksum of each row, of the tensors and the record of a file
Checksums = Callable[[Mapping[str, Tensor], Mapping[str, Any]], list[int]]


def write_store_file(
    path: Path, tensors: dict[str, Tensor], record: Mapping[str, Any], checksums: Checksums
) -> dict[str, Any]:
    """Write tensors and their record; equal content gives equal bytes.

    A sound file of the same keys and encoder that another job made meanwhile stays.

    Args:
        path: the file.
        tensors: its content.
        record: `identity`, `keys` and more.
        checksums: of the rows; they go into the record.

    Returns:
        The record of the file that stands in its place.
    """
    record = {**record, "checksums": checksums(tensors, record)}
    if path.exists() and not is_sound(path, record, checksums):
        path.unlink()
    text = json.dumps(record, sort_keys=True)
    with new_file(path) as temporary:
        metadata = {_RECORD: json.dumps([_sha256(text), text])}
        save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata)
    return read_record(path) or record


def is_sound(path: Path, expected: Mapping[str, Any], checksums: Checksums) -> bool:
    """Tell whether a file has these keys of this encoder, every bit as written."""
    record, tensors = read_record(path), map_tensors(path)
    if record is None or tensors is None or record.get("checksums") is None:
        return False
    if any(record.get(name) != expected[name] for name in ("identity", "keys")):
        return False
    try:
        return record["checksums"] == checksums(tensors, record)
    except (KeyError, RuntimeError, TypeError):  # other tensors than such a file has
        return False


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
