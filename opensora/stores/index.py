"""The index of a run: which rows of the shared store are its clips and captions.

One Parquet file a shard, a declared output of its rule. It names the folder of the store relative
to itself, so that a `results/` folder can be moved as a whole, and per data file the size and the
hash of the header. Nothing here loads torch.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from opensora.buckets.bucket import Bucket
from opensora.core.io import atomic_path
from opensora.stores.keys import KEY
from opensora.tables.columns import DETAIL, ID, OK, STATUS, WINDOW, K
from opensora.tables.parquet import read_rows, write_rows

METADATA = b"opensora_store"
CHECKSUM = "crc32 of sums"  # how `files.checksum` works; older stores say nothing
LATENT_COLUMNS = {
    **{ID: "str", "bucket": "str", "file": "str", "row": "int64"},
    **{"num_frames": "int64", "height": "int64", "width": "int64", "fps": "float64"},
    **{"sha256": "str", "checksum": "int64", STATUS: "str", DETAIL: "str"},
}
EMBEDDING_COLUMNS = {
    **{ID: "str", "file": "str", "row": "int64", "start": "int64", "tokens": "int64"},
    **{"checksum": "int64", STATUS: "str", DETAIL: "str"},
}
OF_SEVERAL = {K: "int64"}  # follows where clips have several captions; else each is number 0
_WORD_BYTES = 8
_ARROW = {"str": pa.string(), "int64": pa.int64(), "float64": pa.float64()}


def latent_rows(items: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """The rows of an index of latents.

    Args:
        items: id, bucket, fps, sha256, key, status and detail; maybe window.
        found: what `Catalogue.find` returned for them.
    """
    rows = _located(items, found, {"row": -1, "checksum": 0})
    buckets = {name: Bucket.parse(name) for name in rows["bucket"].unique()}
    sizes = {name: bucket.size for name, bucket in buckets.items()}
    return rows.assign(
        num_frames=[buckets[name].num_frames for name in rows["bucket"]],
        height=[sizes[name][0] for name in rows["bucket"]],
        width=[sizes[name][1] for name in rows["bucket"]],
    ).astype(latent_columns(rows))


def latent_columns(rows: pd.DataFrame) -> dict[str, str]:
    """The columns of an index of latents: with `window` where one begins behind the first frame."""
    has_windows = WINDOW in rows and bool(rows[WINDOW].any())
    return {**LATENT_COLUMNS, **({WINDOW: "int64"} if has_windows else {})}


def embedding_rows(items: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """The rows of an index of embeddings.

    Args:
        items: id, key, status and detail; `k` where clips have several captions.
        found: what `Catalogue.find` returned for them.
    """
    missing = {"row": -1, "start": 0, "tokens": 0, "checksum": 0}
    return _located(items, found, missing).astype(embedding_columns(items))


def embedding_columns(rows: pd.DataFrame) -> dict[str, str]:
    """The columns of an index of embeddings, by whether its rows number the captions of a clip."""
    return {**EMBEDDING_COLUMNS, **(OF_SEVERAL if K in rows else {})}


def _located(items: pd.DataFrame, found: pd.DataFrame, missing: dict[str, int]) -> pd.DataFrame:
    """Items with their places; those that have none keep their reason and get `missing`."""
    # a checksum takes all 64 bits, which the floats of a join could not hold
    columns = found.reindex(columns=[KEY, "file", *missing]).astype(dict.fromkeys(missing, "Int64"))
    rows = items.merge(columns, on=KEY, how="left", validate="many_to_one")
    is_ok = rows[STATUS] == OK
    numbers = {name: rows[name].where(is_ok, value) for name, value in missing.items()}
    return rows.assign(file=rows["file"].where(is_ok, ""), **numbers)


def write_index(
    path: Path,
    rows: pd.DataFrame,
    *,
    columns: Mapping[str, str],
    store: Path,
    identity: Mapping[str, Any],
    files: Mapping[str, Mapping[str, Any]],
    gate: Mapping[str, Any],
) -> None:
    """Write the index of a shard.

    Args:
        path: the index.
        rows: at least `columns`; rows whose `status` is not "ok" have no file.
        columns: names and pandas types.
        store: folder of the address, to which `file` is relative.
        identity: of the encoder; {} where no row needed one.
        files: size and header of the files; those that no row names are left out.
        gate: what the gate found, for the report.
    """
    used = sorted(set(rows["file"]) - {""})
    record = {
        "identity": dict(identity),
        "files": {name: {key: files[name][key] for key in ("size", "header")} for name in used},
        "checksum": CHECKSUM,
        "store": relative(store, path),
        "gate": dict(gate),
    }
    schema = pa.schema([(name, _ARROW[kind]) for name, kind in columns.items()])
    table = pa.Table.from_pandas(rows[list(columns)], schema=schema, preserve_index=False)
    metadata = {METADATA: json.dumps(record, sort_keys=True)}
    with atomic_path(path) as temporary:
        write_rows(table.replace_schema_metadata(metadata), temporary)


def remove_older(index: Path, num_shards: int) -> None:
    """Remove the indexes of shards that are no more, beside one: readers take a whole folder."""
    if not index.stem.isdecimal():
        return  # one index by itself
    for other in index.parent.glob("*.parquet"):
        if other.stem.isdecimal() and int(other.stem) >= num_shards:
            other.unlink(missing_ok=True)


def relative(place: Path, index: Path) -> str:
    """The path of a file or folder from the folder of an index."""
    return os.path.relpath(place.resolve(), index.parent.resolve())


def read_index(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read an index: its rows, and its record as `write_index` made it.

    Raises:
        OSError, KeyError, TypeError, ValueError: it is damaged, or no index of a store.
    """
    table = read_rows(path)
    return table.to_pandas(), json.loads(table.schema.metadata[METADATA])


def header_hash(path: Path) -> str:
    """SHA-256 of the length field and the JSON header of a safetensors file."""
    with open(path, "rb") as file:
        length = file.read(_WORD_BYTES)
        size = min(int.from_bytes(length, "little"), path.stat().st_size)
        return hashlib.sha256(length + file.read(size)).hexdigest()
