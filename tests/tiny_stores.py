"""Latents and embeddings of a few values, in a store with an index as the encoders leave them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from opensora.buckets.bucket import Bucket
from opensora.stores.catalogue import Catalogue
from opensora.stores.embeddings import pack_tokens, write_embeddings
from opensora.stores.index import (
    embedding_columns,
    embedding_rows,
    latent_columns,
    latent_rows,
    write_index,
)
from opensora.stores.keys import KEY, latent_key, text_key
from opensora.stores.latents import write_latents
from opensora.tables.columns import WINDOW

PART = "0000of0001"


def fill_latents(
    index: Path,
    latents: Mapping[tuple[Any, ...], torch.Tensor],
    identity: Mapping[str, Any],
    *,
    fps: float = 12.5,
    rejected: Sequence[tuple[str, Bucket, str]] = (),
    store: Path | None = None,
) -> list[Path]:
    """Write latents, a file a bucket, and an index that names them; returns the files.

    They are of an id, a bucket and, of all or of none, the first frame of their window.
    """
    catalogue = Catalogue(store or index.parent.parent / "store" / index.stem, PART)
    items = pd.DataFrame(
        [
            {"id": name, "bucket": str(bucket), "status": "ok", WINDOW: sum(window)}
            for name, bucket, *window in latents
        ]
        + [
            {"id": name, "bucket": str(bucket), "status": reason, WINDOW: 0}
            for name, bucket, reason in rejected
        ],
        columns=["id", "bucket", "status", WINDOW],
    ).assign(fps=fps, detail="", frame_interval=1)
    items["sha256"] = "content of " + items["id"]
    items[KEY] = [
        latent_key(x, b, 1, start)
        for x, b, start in zip(items["sha256"], items["bucket"], items[WINDOW], strict=True)
    ]
    has_windows = any(len(key) > 2 for key in latents)
    found: list[pd.DataFrame] = []
    files = []
    for bucket, rows in items[items["status"] == "ok"].groupby("bucket"):
        own = Bucket.parse(str(bucket))
        starts = rows[WINDOW].tolist() if has_windows else None
        values = [
            latents[(name, own) if starts is None else (name, own, starts[place])]
            for place, name in enumerate(rows["id"])
        ]
        path, entries = write_latents(catalogue, values, rows, str(bucket), identity)
        found.append(catalogue.add(path, entries, {}))
        files.append(path)
    write_index(
        # an empty table among them would make floats of the checksums
        *(index, latent_rows(items, pd.concat(found or [pd.DataFrame({KEY: []})]))),
        columns=latent_columns(items),
        store=catalogue.folder,
        identity=identity if files else {},
        files=catalogue.files,
        gate={},
    )
    return files


def fill_embeddings(
    index: Path,
    tokens: Mapping[str, torch.Tensor],
    captions: Mapping[str, str] | Mapping[tuple[str, int], str],
    identity: Mapping[str, Any],
    *,
    rejected: Mapping[str, str] = {},
    store: Path | None = None,
) -> Path:
    """Write the tokens of texts into one file, and an index of id -> text; returns the file.

    Where captions are given by (id, k), it is an index of several captions a clip.
    """
    catalogue = Catalogue(store or index.parent.parent / "store" / index.stem, PART)
    tensors = pack_tokens(list(tokens.values()), int8=bool(identity.get("int8")))
    lengths = [len(rows) for rows in tokens.values()]
    path, entries = write_embeddings(catalogue, tensors, lengths, list(tokens), identity)
    found = catalogue.add(path, entries, {})
    named = [
        {"id": name} if isinstance(name, str) else {"id": name[0], "k": name[1]}
        for name in captions
    ]
    items = pd.DataFrame(
        [
            {**name, KEY: text_key(text), "status": "ok"}
            for name, text in zip(named, captions.values(), strict=True)
        ]
        + [{"id": name, KEY: "", "status": reason} for name, reason in rejected.items()]
    )
    write_index(
        *(index, embedding_rows(items.assign(detail=""), found)),
        columns=embedding_columns(items),
        store=catalogue.folder,
        identity=identity,
        files=catalogue.files,
        gate={},
    )
    return path
