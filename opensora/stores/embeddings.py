"""Text embeddings on disk: ragged `[tokens, dim]` plus offsets; no padding, equal captions once.

Rows of int8 hold each token as whole numbers in -127..127 and one float32 scale. A pooled text is
one token; a class label is one token of one int64.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from opensora.core.errors import StoreError
from opensora.models.device import parse_dtype
from opensora.stores.catalogue import Catalogue
from opensora.stores.files import as_bytes, checksum, write_store_file
from opensora.stores.index import EMBEDDING_COLUMNS, OF_SEVERAL
from opensora.stores.int8 import dequantise, quantise
from opensora.stores.keys import KEY, LABELS, file_name, text_key
from opensora.stores.memory import BatchMemory
from opensora.stores.store import Store
from opensora.tables.columns import ID, K

MADE_BY = "encode_captions"
TOKENS, SCALES, OFFSETS = "tokens", "scales", "offsets"


def pack_tokens(embeddings: Sequence[Tensor], *, int8: bool) -> dict[str, Tensor]:
    """Lay embeddings [tokens, dim] behind one another; int8 rounds them, with a scale a token."""
    if not int8:
        return {TOKENS: torch.cat(list(embeddings))}
    rows = [quantise(embedding) for embedding in embeddings]
    return {
        TOKENS: torch.cat([values for values, _ in rows]),  # [sum of tokens, dim]
        SCALES: torch.cat([scales for _, scales in rows]),  # [sum of tokens]
    }


def write_embeddings(
    catalogue: Catalogue,
    tensors: Mapping[str, Tensor],
    lengths: Sequence[int],
    texts: Sequence[str],
    identity: Mapping[str, Any],
) -> tuple[Path, pd.DataFrame]:
    """Write one file, which `Catalogue.add` then enters.

    Args:
        catalogue: of the encoder's address.
        tensors: of `pack_tokens`, on the CPU.
        lengths: tokens of each text.
        texts: the captions, all different.
        identity: the encoder.

    Returns:
        The file, and its rows for `Catalogue.add`.
    """
    keys = [text_key(text) for text in texts]
    offsets = [0, *accumulate(lengths)]
    record: dict[str, Any] = {"identity": dict(identity), "keys": keys}
    record |= {"texts": list(texts), "tokens": list(lengths)}
    path = catalogue.path_of(file_name("texts", keys))
    content = {**tensors, OFFSETS: torch.tensor(offsets)}  # [texts + 1]
    written = write_store_file(path, content, record, _checksums)
    rows = {KEY: keys, "row": range(len(keys)), "start": offsets[:-1], "tokens": list(lengths)}
    return path, pd.DataFrame(rows | {"checksum": written["checksums"]})


def _checksums(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> list[int]:
    """Of each text: its tokens, and their scales where there are some."""
    lengths = record["tokens"]
    parts = [tensors[name].split(lengths) for name in (TOKENS, SCALES) if name in tensors]
    return [checksum(*map(as_bytes, row)) for row in zip(*parts, strict=True)]


class EmbeddingStore(Store):
    """Read text embeddings by clip id and number of the caption.

    Attributes:
        captions: the most that a clip has.
        dtype: type of what is read; rows of int8 are multiplied by their scales.

    Raises:
        StoreError: no index, indexes of different encoders, or one caption of a clip twice.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(root, made_by=MADE_BY, columns=EMBEDDING_COLUMNS, zeros=OF_SEVERAL)
        self._starts = self.rows["start"].to_numpy()
        self._lengths = self.rows["tokens"].to_numpy()
        self._ks = self.rows[K].to_numpy()
        twice = self.rows.duplicated([ID, K])
        if twice.any():
            raise self.doubled(repr(self.rows.loc[twice, ID].iloc[0]))
        # positions of a clip's captions lie in _order from its _bounds on, by k
        numbers, names = pd.factorize(self.rows[ID])
        self._numbers = {name: number for number, name in enumerate(names)}
        self._order = np.lexsort((self._ks, numbers))
        counts = np.bincount(numbers, minlength=len(names))
        self._bounds = np.r_[0, counts.cumsum()]
        self.captions = int(counts.max(initial=1))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def max_length(self) -> int:
        """The most tokens of a caption; 1 where texts are pooled, or are class labels."""
        return int(self.identity.get("num_tokens") or self.identity["model_max_length"])

    @property
    def holds_labels(self) -> bool:
        """Whether its rows are class labels."""
        return self.identity.get("type") == LABELS

    def missing(self, ids: pd.Series) -> pd.Series:
        """Return those of `ids` that the store does not hold."""
        return ids[~ids.isin(self.rows[ID])]

    def locate(self, identity: str, k: int = 0) -> int:
        """Return the position in `rows` of a caption of a clip.

        Raises:
            StoreError: it was never encoded.
        """
        for position in self.locate_all(identity):
            if self._ks[position] == k:
                return int(position)
        raise StoreError(f"{self.root}: no embedding of caption {k} of {identity!r}")

    def locate_all(self, identity: str) -> np.ndarray:
        """Return the positions in `rows` of the captions of a clip, by k; at least one.

        Raises:
            StoreError: none was encoded.
        """
        try:
            number = self._numbers[identity]
            return self._order[self._bounds[number] : self._bounds[number + 1]]
        except KeyError as error:
            raise StoreError(
                f"{self.root}: no embedding of {identity!r}; run {MADE_BY} with the manifest that"
                " training reads"
            ) from error

    def parts(self, position: int) -> tuple[np.ndarray, ...]:
        """Return (tokens,) of a row, of int8 rows also their scales, by memory map, unchecked."""
        tensors = self.tensors(self.file_numbers[position])
        start = self._starts[position]
        span = slice(start, start + self._lengths[position])
        names = (TOKENS, SCALES) if SCALES in tensors else (TOKENS,)
        return tuple(tensors[name].rows[span].reshape(-1) for name in names)

    def verify(self) -> int:
        """Check everything as every store does, and that offsets and index agree."""
        checked = super().verify()
        for name, rows in self.rows.groupby("file"):
            offsets = self.tensors(self.file_numbers[rows.index[0]])[OFFSETS]
            bounds = offsets.tensor(offsets.rows).numpy()
            first, last = bounds[rows["row"]], bounds[rows["row"] + 1]
            if (first != rows["start"]).any() or (last - first != rows["tokens"]).any():
                raise self.damaged(str(name), "its offsets differ from the index")
        return checked

    def get(self, identity: str, k: int = 0) -> Tensor:
        """Return the tokens of a caption of a clip, [tokens, dim].

        Raises:
            StoreError: not encoded, or damaged on disk.
        """
        return self.at(self.locate(identity, k))

    def at(self, position: int) -> Tensor:
        """Return the tokens [tokens, dim] of row `position` of `rows`.

        Raises:
            StoreError: damaged on disk.
        """
        length = int(self._lengths[position])
        return self.read([position], length, BatchMemory(pinned=False))[0][0]

    def read(
        self, positions: Sequence[int], max_length: int, memory: BatchMemory
    ) -> tuple[Tensor, np.ndarray]:
        """Copy rows out of their files, once, and fill up with zeros.

        Args:
            positions: B positions in `rows`.
            max_length: L, at least the tokens of each row.
            memory: where they go.

        Returns:
            [B, L, dim] tokens and int64 [B] their number.

        Raises:
            StoreError: damaged on disk.
        """
        where = np.asarray(positions)
        numbers, starts = self.file_numbers[where].tolist(), self._starts[where].tolist()
        lengths = self._lengths[where]
        first = self.tensors(numbers[0])
        tokens, is_int8 = first[TOKENS], SCALES in first
        dtype = parse_dtype(self.identity["dtype"]) if is_int8 else tokens.dtype
        token_bytes = math.prod(tokens.shape) * dtype.itemsize
        filled = (lengths * token_bytes).tolist()
        lent = memory.take_padded(len(numbers), max_length * token_bytes, filled)
        batch = lent.tensor.view(dtype).view(-1, max_length, *tokens.shape)
        # plain lists and numpy: a batch takes few operations beside the copies
        stops, checked = (self._starts[where] + lengths).tolist(), self.checked[where].tolist()
        for place, (number, start, stop) in enumerate(zip(numbers, starts, stops, strict=True)):
            tensors = self.tensors(number)
            data = tensors[TOKENS].rows[start:stop].reshape(-1)
            if is_int8:
                scales = tensors[SCALES]
                row = batch[place, : stop - start]
                dequantise(tokens.tensor(data), scales.tensor(scales.rows[start:stop]), row)
            else:
                lent.array[place, : filled[place]] = data
            if not checked[place]:  # now that the copy brought it into the cache
                self.check(positions[place], self.parts(positions[place]))
        return batch, lengths
