"""A run of the layout before, written by hand: files and index of a shard in one folder."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import Tensor

from opensora.stores.embeddings import EmbeddingStore
from opensora.stores.files import as_bytes, checksum
from opensora.stores.index import header_hash
from opensora.stores.latents import LatentStore


def write_file(path: Path, tensors: dict[str, Tensor], record: Mapping[str, Any]) -> None:
    text = json.dumps(record, sort_keys=True)
    digest = sha256(text.encode()).hexdigest()
    save_file(tensors, path, {"opensora": json.dumps([digest, text])})


def write_index(folder: Path, rows: pd.DataFrame, identity: Mapping[str, Any]) -> None:
    files = {
        name: {"size": (folder / name).stat().st_size, "header": header_hash(folder / name)}
        for name in sorted(set(rows["file"]))
    }
    facts = {"identity": dict(identity), "files": files, "checksum": "crc32 of sums"}
    table = pa.Table.from_pandas(rows, preserve_index=False)
    record = {b"opensora_store": json.dumps(facts, sort_keys=True)}
    pq.write_table(table.replace_schema_metadata(record), folder / "index.parquet")


def write_latents(index: Path, folder: Path, **changes: Any) -> None:
    """Write the latents of an index of today as a shard of before; changes are of its identity."""
    folder.mkdir(parents=True)
    store = LatentStore(index)
    identity = {**store.identity, **changes}
    rows = store.rows.sort_values("bucket")
    parts = []
    for bucket, part in rows.groupby("bucket"):
        name = f"{bucket.replace('|', '_')}-00000.safetensors"
        latents = torch.stack([store.at(place) for place in part.index])
        sums = [checksum(row) for row in as_bytes(latents, 2)]
        record = {"identity": identity, "bucket": bucket, "ids": part["id"].tolist()}
        record |= {"fps": part["fps"].tolist(), "sha256": part["sha256"].tolist()}
        write_file(folder / name, {"latents": latents}, record | {"checksums": sums})
        parts.append(part.assign(file=name, row=range(len(part)), checksum=sums))
    write_index(folder, pd.concat(parts), identity)


def write_embeddings(index: Path, folder: Path, texts: Mapping[str, str], **changes: Any) -> None:
    """The same of embeddings.

    Args:
        index: of today.
        folder: of before.
        texts: id -> caption.
        changes: of the identity.
    """
    folder.mkdir(parents=True)
    store = EmbeddingStore(index)
    identity = {**store.identity, **changes}
    words = sorted({texts[name] for name in store.rows["id"]})
    first = {texts[name]: name for name in reversed(store.rows["id"].tolist())}
    tokens = [store.get(first[text]).clone() for text in words]
    lengths = [len(each) for each in tokens]
    starts = [sum(lengths[:place]) for place in range(len(lengths) + 1)]
    name = "texts-00000.safetensors"
    sums = [checksum(as_bytes(each)) for each in tokens]
    record = {"identity": identity, "texts": words, "tokens": lengths, "checksums": sums}
    tensors = {"tokens": torch.cat(tokens), "offsets": torch.tensor(starts)}
    write_file(folder / name, tensors, record)
    rows = [
        {"id": clip, "file": name, "row": row, "start": starts[row], "tokens": lengths[row],
         "checksum": sums[row]}
        for clip in store.rows["id"]
        for row in [words.index(texts[clip])]
    ]  # fmt: skip
    write_index(folder, pd.DataFrame(rows), identity)


def make_old(run: Path, texts: Mapping[str, str], **changes: Any) -> None:
    """Put the results of a run of today where a run of before had them."""
    for index in sorted(run.glob("latents/*/*.parquet")):
        write_latents(index, index.with_suffix(""), **changes)
        index.unlink()
    for index in sorted(run.glob("embeddings/*.parquet")):
        write_embeddings(index, run / "embeddings" / f"old{index.stem}", texts, **changes)
        index.unlink()
