"""Encode the captions of a manifest with a text encoder into an embedding store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from opensora.core.errors import StoreError
from opensora.core.logging import progress
from opensora.core.versions import VERSIONS
from opensora.datasets.embedding_store import (
    is_finished,
    write_embedding_index,
    write_embeddings,
)
from opensora.encoding.workplace import remove_stale, under_construction
from opensora.tables.columns import TEXT

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
_FILE_TEXTS = 4096
_BATCH_SIZE = 32


def encode_captions(
    manifest: pd.DataFrame, text_encoder: Any, folder: Path, *, dtype: str = "bf16"
) -> dict[str, int]:
    """Encode each different caption once; padding is not stored.

    The captions are clean already. Files that hold the right texts from the same encoder are
    kept, so a stopped run continues. The index is written last.

    Args:
        manifest: id and text of the clips.
        text_encoder: encode(list of B texts) -> y [B, 1, L, D] and mask [B, L].
        folder: of the store; `{folder}.partial` while it is being filled.
        dtype: "bf16" or "fp32": type of the stored tokens.

    Returns:
        Counts: clips, texts, tokens, files, kept (files that were already finished).

    Raises:
        StoreError: the encoder returned NaN, infinity, or no token.
    """
    version = VERSIONS["encode_captions"]
    identity = {**text_encoder.identity(), "dtype": dtype, "version": version}
    identity["model_max_length"] = int(text_encoder.model_max_length)
    texts = sorted(set(manifest[TEXT]))
    chunks = [texts[i : i + _FILE_TEXTS] for i in range(0, len(texts), _FILE_TEXTS)]
    names, kept = [], 0
    with under_construction(folder) as work:
        for part, chunk in enumerate(progress(chunks, description="encode_captions")):
            name = f"texts-{part:05d}.safetensors"
            names.append(name)
            if is_finished(work / name, chunk, identity):
                kept += 1
                continue
            tokens = [row.to("cpu", DTYPES[dtype]) for row in _encode(chunk, text_encoder)]
            write_embeddings(work / name, tokens, chunk, identity)
        remove_stale(work, names)
        rows = write_embedding_index(work, names, manifest, identity)
    count = int(rows.drop_duplicates(["file", "row"])["tokens"].sum())
    counts = {"clips": len(rows), "texts": len(texts), "tokens": count}
    return {**counts, "files": len(names), "kept": kept}


@torch.no_grad()
def _encode(texts: list[str], text_encoder: Any) -> Iterator[Tensor]:
    """Yield the tokens [tokens, D] of each text."""
    for start in range(0, len(texts), _BATCH_SIZE):
        batch = texts[start : start + _BATCH_SIZE]
        encoded = text_encoder.encode(batch)
        lengths = encoded["mask"].sum(1).tolist()
        for text, tokens, length in zip(batch, encoded["y"][:, 0], lengths, strict=True):
            if not length or not tokens[:length].isfinite().all():
                raise StoreError(
                    f"the text encoder gives {'NaN or infinity' if length else 'no token'} for the"
                    f" caption {text[:60]!r}; check its weights and dtype"
                )
            yield tokens[:length]
