"""Captions to embeddings while training: those of coming micro batches together, each once.

A caption's embedding may depend on nothing but the caption, not even in the last bit, or a resumed
run would differ from a straight one. Kernels round differently at another shape, not for other
neighbours. So a caption is padded to a length that follows from its own tokens, and batches of
that length always have the same number of captions.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import torch
from torch import Tensor

_CACHE_BYTES = 256 << 20  # of embeddings that are kept, on the encoder's device
_BATCH_TOKENS = 512  # enough to read the weights of a large encoder once for many captions
_LENGTH_STEP = 8  # tokens; captions are padded to a multiple
_SHORTEST = 16  # tokens; shorter captions are padded to it
_LOOK_AHEAD = 2048  # captions that may be looked at to fill a batch
_KNOWN_LENGTHS = 1 << 16  # captions whose number of tokens is kept


class CaptionEncoder:
    """Captions to embeddings; each is encoded once while it stays in the cache.

    Attributes:
        text_dim: D.
        max_length: L, length of every `y`.

    Args:
        text_encoder: encode(list of texts) -> `y` [B, 1, L, D] and maybe `mask` [B, L]; where its
            `any_length` is set, encode(texts, length) pads to that many tokens instead of L.
    """

    def __init__(self, text_encoder: Any) -> None:
        self._text_encoder = text_encoder
        self._cache: OrderedDict[str, Tensor] = OrderedDict()  # text -> [tokens, D]
        self._bytes = 0
        y = text_encoder.encode([""])["y"]
        self.max_length, self.text_dim = int(y.shape[2]), int(y.shape[3])
        self._any_length = bool(getattr(text_encoder, "any_length", False))
        self._num_tokens = lru_cache(_KNOWN_LENGTHS)(self._count_tokens)

    def identity(self) -> dict[str, Any]:
        """What decides the embeddings."""
        length = int(self._text_encoder.model_max_length)
        return {**self._text_encoder.identity(), "model_max_length": length}

    def encode(self, texts: Sequence[str], coming: Iterable[str] = ()) -> tuple[Tensor, Tensor]:
        """Return `y` [B, 1, L, D], zero beyond each caption, and `mask` int64 [B, L].

        Args:
            texts: B captions.
            coming: those that will be asked for next, in order; read only where one of `texts` is
                new and its batch has room.
        """
        rows = {text: self._cache[text] for text in texts if text in self._cache}
        for text in rows:
            self._cache.move_to_end(text)
        if missing := [text for text in dict.fromkeys(texts) if text not in rows]:
            rows |= self._encode_new(missing, coming)
        some = rows[texts[0]]
        y = some.new_zeros(len(texts), 1, self.max_length, self.text_dim)
        mask = torch.zeros(len(texts), self.max_length, dtype=torch.int64, device=y.device)
        for index, text in enumerate(texts):
            y[index, 0, : len(rows[text])] = rows[text]
            mask[index, : len(rows[text])] = 1
        return y, mask

    def _encode_new(self, missing: Sequence[str], coming: Iterable[str]) -> dict[str, Tensor]:
        """Encode captions, and coming ones where there is room beside them."""
        groups: dict[int, dict[str, None]] = {}  # length -> captions, in order
        for text in missing:
            groups.setdefault(self._padded(text), {})[text] = None
        room = {length: -len(group) % batch_size(length) for length, group in groups.items()}
        for text in islice(coming, _LOOK_AHEAD):
            if not any(room.values()):
                break
            length = 0 if text in self._cache else self._padded(text)
            if room.get(length) and text not in groups[length]:
                groups[length][text] = None
                room[length] -= 1
        rows: dict[str, Tensor] = {}
        for length, group in groups.items():
            rows |= self._encode_alike(list(group), length)
        for text in [*(text for text in rows if text not in missing), *missing]:
            self._keep(text, rows[text])
        return rows

    def _encode_alike(self, texts: Sequence[str], length: int) -> dict[str, Tensor]:
        """Encode captions of one padded length; the last batch is filled up with its last one."""
        size = batch_size(length)
        rows: dict[str, Tensor] = {}
        for start in range(0, len(texts), size):
            batch = list(texts[start : start + size])
            full = batch + batch[-1:] * (size - len(batch))
            if self._any_length:
                y = self._text_encoder.encode(full, length)["y"]
                counts = [self._num_tokens(text) for text in batch]
            else:
                encoded = self._text_encoder.encode(full)
                y, mask = encoded["y"], encoded.get("mask")
                counts = [self.max_length] * len(batch) if mask is None else mask.sum(1).tolist()
            for text, row, count in zip(batch, y[:, 0], counts, strict=False):
                rows[text] = row[:count].clone()  # of a batch no padding is kept
        return rows

    def _count_tokens(self, text: str) -> int:
        return min(len(self._text_encoder.whole_ids([text])[0]), self.max_length)

    def _padded(self, text: str) -> int:
        """Tokens that a caption is padded to."""
        if not self._any_length:  # it may return fewer: of a pooled caption one
            return int(self._text_encoder.model_max_length)
        steps = -(-self._num_tokens(text) // _LENGTH_STEP)
        return min(max(steps * _LENGTH_STEP, _SHORTEST), self.max_length)

    def _keep(self, text: str, tokens: Tensor) -> None:
        self._cache[text] = tokens
        self._bytes += tokens.nbytes
        while self._bytes > _CACHE_BYTES and len(self._cache) > 1:
            self._bytes -= self._cache.popitem(last=False)[1].nbytes


def batch_size(length: int) -> int:
    """Captions that are encoded together when padded to `length` tokens: always as many."""
    return max(_BATCH_TOKENS // length, 1)
