"""Encode the captions that the store lacks: batched, measured, written file by file."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from opensora.core.errors import ConfigError
from opensora.core.guard import Guard, fault_of
from opensora.core.log import progress
from opensora.core.process import threads_in_use
from opensora.models.device import parse_dtype
from opensora.precompute.text_encoding import TextEncoding
from opensora.precompute.texts import stored_rows
from opensora.stores.catalogue import Catalogue
from opensora.stores.embeddings import SCALES, TOKENS, pack_tokens, write_embeddings
from opensora.stores.int8 import dequantise, rounding_error
from opensora.stores.keys import FILE_BYTES, FILE_TEXTS, text_key
from opensora.text.cut import count_cut

log = logging.getLogger(__name__)

Build = Callable[[], Any]
_BATCH_SIZE = 32
_CAPTIONS_AGAIN = 8  # of a file
Reason = tuple[str, str]


def encode_texts(
    catalogue: Catalogue, texts: Sequence[str], encoding: TextEncoding, build: Build
) -> tuple[dict[str, Reason], list[pd.DataFrame]]:
    """Encode texts into a catalogue.

    Args:
        catalogue: where the files go.
        texts: all different, sorted.
        encoding: settings.
        build: gives the encoder: encode(list of B texts) -> y [B, 1, L, D] and, where captions are
            padded, mask [B, L]; or class labels y [B].

    Returns:
        key -> reason and detail of those that have no embedding; the rows that were added.
    """
    text_encoder = build()
    identity = encoding.identity(text_encoder)
    catalogue.keep_identity(identity)
    dtype = torch.int64 if encoding.are_labels else parse_dtype(encoding.dtype)
    rejected: dict[str, Reason] = {}
    added: list[pd.DataFrame] = []
    waiting: dict[str, Tensor] = {}  # text -> [tokens, D]
    size = 0

    def write() -> None:
        lengths = [len(tokens) for tokens in waiting.values()]
        tensors = pack_tokens(list(waiting.values()), int8=encoding.int8)
        path, rows = write_embeddings(catalogue, tensors, lengths, list(waiting), identity)
        facts = _facts(waiting, tensors, text_encoder, encoding)
        added.append(catalogue.add(path, rows, facts))

    guard = Guard("encode_captions")
    encoded = _encode(texts, text_encoder, guard)
    steps = progress(encoded, description="encode_captions", total=len(texts))
    for text, row in steps:
        tokens = row.to("cpu", dtype) if isinstance(row, Tensor) else torch.zeros(0)
        reason = _complaint(text, tokens) if isinstance(row, Tensor) else row
        if reason is not None:
            rejected[text_key(text)] = reason
            continue
        if waiting and (len(waiting) == FILE_TEXTS or size + tokens.nbytes > FILE_BYTES):
            write()
            waiting, size = {}, 0
        waiting[text] = tokens
        size += tokens.nbytes
    guard.tell()
    if waiting:
        write()
    return rejected, added


def _complaint(text: str, tokens: Tensor) -> Reason | None:
    """Why a text has no embedding."""
    if not len(tokens):
        return "no_token", f"the text encoder gives no token for the caption {text[:60]!r}"
    if not tokens.isfinite().all():
        return "bad_values", f"the text encoder gives NaN or infinity for the caption {text[:60]!r}"
    return None


@torch.no_grad()
def _encode(
    texts: Sequence[str], text_encoder: Any, guard: Guard
) -> Iterator[tuple[str, Tensor | Reason]]:
    """Yield each text with its tokens [tokens, D], or with the reason why it has none.

    A batch always has as many texts, the last one repeated where they end: kernels round
    differently at another batch size, not for other neighbours.
    """
    for start in range(0, len(texts), _BATCH_SIZE):
        batch = list(texts[start : start + _BATCH_SIZE])
        try:
            rows: list[Any] | None = _rows_of(batch, text_encoder)
        except ConfigError:  # one of them is no class
            rows = None
        except BaseException as error:
            fault_of(error)  # one of them alone, or it raises
            rows = None
        if rows is None:
            rows = [_row_of(text, text_encoder, guard) for text in batch]
        yield from zip(batch, rows, strict=True)


def _rows_of(batch: list[str], text_encoder: Any) -> list[Tensor]:
    full = batch + batch[-1:] * (_BATCH_SIZE - len(batch))
    return stored_rows(text_encoder.encode(full))[: len(batch)]


def _row_of(text: str, text_encoder: Any, guard: Guard) -> Tensor | Reason:
    try:
        return _rows_of([text], text_encoder)[0]
    except ConfigError as error:
        return "no_class", str(error)
    except BaseException as error:
        fault = guard.fault(error)
        return fault.reason, fault.detail


@torch.no_grad()
def _facts(
    rows: Mapping[str, Tensor], tensors: Mapping[str, Tensor], text_encoder: Any, encoding: Any
) -> dict[str, Any]:
    """What the gate asks of a file; `gates.join_text_facts` says what the numbers are.

    A few captions are encoded once more, in another order: they must get the same embedding.
    """
    lengths = [len(tokens) for tokens in rows.values()]
    facts = {"captions": len(rows), "tokens": sum(lengths), "norm": [], "int8": []}
    facts |= {"threads": threads_in_use()}
    if not encoding.are_labels:
        norms = torch.cat([tokens.double().norm(dim=1) for tokens in rows.values()])
        facts["norm"] = [float(norms.min()), float(norms.sum()), float(norms.max())]
    cut = count_cut(text_encoder, list(rows))
    facts["cut"] = [cut.cut, cut.tokens]
    stored = tensors[TOKENS]
    if SCALES in tensors:
        pieces = zip(stored.split(lengths), tensors[SCALES].split(lengths), strict=True)
        facts["int8"] = list(rounding_error(list(rows.values()), list(pieces)))
        stored = dequantise(stored, tensors[SCALES], torch.empty(stored.shape))
    texts, parts = list(rows), stored.split(lengths)
    picks = np.unique(np.linspace(0, len(texts) - 1, _CAPTIONS_AGAIN).astype(int)).tolist()
    facts["drift"] = drift(
        [texts[pick] for pick in picks[::-1]], [parts[pick] for pick in picks[::-1]], text_encoder
    )
    return facts


@torch.no_grad()
def drift(texts: Sequence[str], stored: Sequence[Tensor], text_encoder: Any) -> list[float]:
    """Encode texts again: the sums of squared differences and of squares."""
    lost = total = 0.0
    for before, fresh in zip(stored, stored_rows(text_encoder.encode(list(texts))), strict=True):
        again = fresh[: len(before)].cpu().double()
        lost += float((before.double() - again).square().sum())
        total += float(again.square().sum())
    return [lost, total]
