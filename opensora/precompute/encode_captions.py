"""Encode the captions of a manifest with a text encoder into an embedding store."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from opensora.core.errors import ConfigError, StoreError
from opensora.core.log import progress
from opensora.core.seed import stable_shard
from opensora.core.versions import VERSIONS
from opensora.models.device import parse_dtype
from opensora.precompute.embedding_doctor import CaptionDoctor
from opensora.precompute.texts import stored_rows
from opensora.stores.embeddings import (
    LABELS,
    EmbeddingStore,
    is_embedding_file,
    write_embedding_index,
    write_embeddings,
)
from opensora.stores.files import (
    FILE_BYTES,
    check_shard,
    remove_stale,
    under_construction,
)
from opensora.stores.int8 import int8_error
from opensora.tables.columns import TEXT

log = logging.getLogger(__name__)

_FILE_TEXTS = 4096
_BATCH_SIZE = 32


def encode_captions(
    manifest: pd.DataFrame,
    text_encoder: Any,
    folder: Path,
    *,
    dtype: str = "bf16",
    int8: bool = False,
    shard: int = 0,
    num_shards: int = 1,
) -> dict[str, Any]:
    """Encode each different caption once; padding is not stored.

    The captions are clean already. Files that hold the right texts from the same encoder,
    unharmed, are kept, so a stopped run continues. The index is written after the gate.

    Args:
        manifest: id and text of the clips.
        text_encoder: encode(list of B texts) -> y [B, 1, L, D] and, where captions are padded,
            mask [B, L]; or class labels y [B].
        folder: of the store; `{folder}.partial` while it is being filled.
        dtype: "bf16" or "fp32": type of the stored tokens; labels are int64.
        int8: store whole numbers and a scale per token instead, read back as `dtype`.
        shard: index of the shard.
        num_shards: shards in all; a caption belongs to one by its hash, its clips with it.

    Returns:
        Counts: clips, texts, tokens, files, kept (files that were already finished); `int8_error`
        (relative_rms, worst_token) or None.

    Raises:
        ConfigError: no such shard, int8 for labels, or a caption that is no class.
        StoreError: the encoder returned NaN, infinity, or no token, or the store fails the gate.
    """
    check_shard(shard, num_shards)
    identity, stored_dtype = _identity(text_encoder, dtype, int8)
    texts = sorted(t for t in set(manifest[TEXT]) if stable_shard(t, num_shards) == shard)
    mine = manifest[manifest[TEXT].isin(texts)]
    chunks = _chunks(texts, text_encoder, stored_dtype)
    names, kept = [], 0
    with under_construction(folder) as work:
        for part, chunk in enumerate(progress(chunks, description="encode_captions")):
            name = f"texts-{part:05d}.safetensors"
            names.append(name)
            if is_embedding_file(work / name, chunk, identity):
                kept += 1
                continue
            embeddings = [row.to("cpu", stored_dtype) for row in _encode(chunk, text_encoder)]
            write_embeddings(work / name, embeddings, chunk, identity)
        remove_stale(work, names)
        rows = write_embedding_index(work, names, mine, identity)
        _pass_the_gate(CaptionDoctor(EmbeddingStore(work), mine), text_encoder)
    tokens = int(rows.drop_duplicates(["file", "row"])["tokens"].sum())
    counts = {"clips": len(rows), "texts": len(texts), "tokens": tokens, "files": len(names)}
    error = int8_error(folder, names)
    if error is not None:
        log.info("int8 relative_rms=%(relative_rms).5f worst_token=%(worst_token).5f", error)
    return {**counts, "kept": kept, "int8_error": error}


def _pass_the_gate(doctor: CaptionDoctor, text_encoder: Any) -> None:
    doctor.examine()
    doctor.encode_again(text_encoder)
    doctor.write()
    doctor.require_health()


def _chunks(texts: list[str], text_encoder: Any, dtype: torch.dtype) -> list[list[str]]:
    """Cut the texts into files of a bounded size."""
    dim = int(getattr(text_encoder, "output_dim", 1))  # a label is one number
    longest = dim * _num_tokens(text_encoder) * dtype.itemsize
    length = max(1, min(_FILE_TEXTS, FILE_BYTES // longest))
    return [texts[start : start + length] for start in range(0, len(texts), length)]


def _num_tokens(text_encoder: Any) -> int:
    """The most tokens that a caption can have in the store."""
    return int(getattr(text_encoder, "num_tokens", None) or text_encoder.model_max_length)


def _identity(text_encoder: Any, dtype: str, int8: bool) -> tuple[dict[str, Any], torch.dtype]:
    """What must agree between the embeddings of one training run, and their type."""
    identity = {**text_encoder.identity(), "dtype": dtype, "version": VERSIONS["encode_captions"]}
    length = getattr(text_encoder, "model_max_length", None)
    if length is not None:
        identity["model_max_length"] = int(length)
    if _num_tokens(text_encoder) != length:
        identity["num_tokens"] = _num_tokens(text_encoder)
    if identity.get("type") != LABELS:
        return identity | ({"int8": True} if int8 else {}), parse_dtype(dtype)
    if int8:
        raise ConfigError("--int8 rounds embeddings and class labels are whole; leave it out")
    return identity | {"dtype": "int64"}, torch.int64


@torch.no_grad()
def _encode(texts: list[str], text_encoder: Any) -> Iterator[Tensor]:
    """Yield the tokens [tokens, D] of each text.

    A batch always has as many texts, the last one repeated where the file ends: kernels round
    differently at another batch size, not for other neighbours.
    """
    for start in range(0, len(texts), _BATCH_SIZE):
        batch = texts[start : start + _BATCH_SIZE]
        rows = stored_rows(text_encoder.encode(batch + batch[-1:] * (_BATCH_SIZE - len(batch))))
        for text, tokens in zip(batch, rows, strict=False):
            if not len(tokens) or not tokens.isfinite().all():
                raise StoreError(
                    f"the text encoder gives {'NaN or infinity' if len(tokens) else 'no token'} for"
                    f" the caption {text[:60]!r}; check its weights and dtype"
                )
            yield tokens
