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
from opensora.stores.files import (
    as_bytes,
    checksum,
    map_tensors,
    read_record,
    write_index,
    write_store_file,
)
from opensora.stores.int8 import RECORD_FIELD, dequantise, quantise, rounding_error
from opensora.stores.memory import BatchMemory
from opensora.stores.store import Store
from opensora.tables.columns import ID, TEXT

MADE_BY = "encode_captions"
LABELS = "classes"  # type of an identity: class labels in the place of embeddings
_TOKENS, _SCALES, _OFFSETS = "tokens", "scales", "offsets"
_COLUMNS = {
    ID: "str",
    "file": "str",
    "row": "int64",
    "start": "int64",
    "tokens": "int64",
    "checksum": "int64",
}


def write_embeddings(
    path: Path, embeddings: Sequence[Tensor], texts: Sequence[str], identity: Mapping[str, Any]
) -> None:
    """Write one file; an identity with `int8` rounds the tokens first.

    Args:
        path: the file.
        embeddings: one tensor [tokens, dim] per text, on the CPU.
        texts: the captions, all different.
        identity: the encoder.
    """
    lengths = [len(embedding) for embedding in embeddings]
    tensors = {_OFFSETS: torch.tensor([0, *accumulate(lengths)])}  # [texts + 1]
    error = {}
    if identity.get("int8"):
        rows = [quantise(embedding) for embedding in embeddings]
        tensors[_TOKENS] = torch.cat([values for values, _ in rows])  # [sum of tokens, dim]
        tensors[_SCALES] = torch.cat([scales for _, scales in rows])  # [sum of tokens]
        error = {RECORD_FIELD: rounding_error(embeddings, rows)}
    else:
        tensors[_TOKENS] = torch.cat(list(embeddings))
    record = {
        "identity": dict(identity),
        "texts": list(texts),
        "tokens": lengths,
        "checksums": _checksums(tensors, lengths),
        **error,
    }
    write_store_file(path, tensors, record)


def is_embedding_file(path: Path, texts: Sequence[str], identity: Mapping[str, Any]) -> bool:
    """Tell whether a file holds exactly these texts from this encoder, every bit as written."""
    record, tensors = read_record(path), map_tensors(path)
    if record is None or tensors is None:
        return False
    if record.get("identity") != dict(identity) or record.get("texts") != list(texts):
        return False
    lengths = record.get("tokens", [])
    parts = [tensors[name] for name in (_TOKENS, _SCALES) if name in tensors]
    offsets = tensors.get(_OFFSETS, torch.empty(0))
    if offsets.tolist() != [0, *accumulate(lengths)] or any(
        len(part) != sum(lengths) for part in parts
    ):
        return False
    return record.get("checksums") == _checksums(tensors, lengths)


def _checksums(tensors: Mapping[str, Tensor], lengths: list[int]) -> list[int]:
    """Of each text: its tokens, and their scales where there are some."""
    parts = [tensors[name].split(lengths) for name in (_TOKENS, _SCALES) if name in tensors]
    return [checksum(*map(as_bytes, row)) for row in zip(*parts, strict=True)]


def write_embedding_index(
    folder: Path, names: Sequence[str], captions: pd.DataFrame, identity: Mapping[str, Any]
) -> pd.DataFrame:
    """Write the index: one row per clip, rows of equal captions point to the same tokens.

    Args:
        folder: where the files are.
        names: finished files.
        captions: id and text of each clip; every text is in one of the files.
        identity: the encoder.

    Returns:
        The rows of the index.
    """
    parts = []
    for name in names:
        record = read_record(folder / name)
        if record is None:
            raise StoreError(f"{folder / name}: unreadable; delete it and run {MADE_BY} again")
        lengths = record["tokens"]
        part = pd.DataFrame({TEXT: record["texts"], "file": name, "tokens": lengths})
        starts = [0, *accumulate(lengths)][:-1]
        parts.append(part.assign(row=range(len(part)), start=starts, checksum=record["checksums"]))
    kinds = {name: kind for name, kind in _COLUMNS.items() if name != ID} | {TEXT: "str"}
    empty = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})
    texts = pd.concat(parts, ignore_index=True).astype(kinds) if parts else empty
    rows = captions[[ID, TEXT]].merge(texts, on=TEXT, how="left", validate="many_to_one")
    rows = rows[list(_COLUMNS)].astype(_COLUMNS)
    write_index(folder, rows, identity)
    return rows


class EmbeddingStore(Store):
    """Read text embeddings by clip id.

    Attributes:
        dtype: type of what is read; rows of int8 are multiplied by their scales.

    Raises:
        StoreError: no index, indexes of different encoders, or one id twice.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(root, made_by=MADE_BY, columns=_COLUMNS)
        self._starts = self.rows["start"].to_numpy()
        self._lengths = self.rows["tokens"].to_numpy()
        self._positions = {name: position for position, name in enumerate(self.rows[ID])}
        if len(self._positions) < len(self.rows):
            twice = self.rows[ID][self.rows[ID].duplicated()].iloc[0]
            raise StoreError(f"{self.root}: holds {twice!r} twice; delete it and run {MADE_BY}")

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

    def locate(self, identity: str) -> int:
        """Return the position in `rows` of a clip.

        Raises:
            StoreError: its caption was never encoded.
        """
        try:
            return self._positions[identity]
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
        names = (_TOKENS, _SCALES) if _SCALES in tensors else (_TOKENS,)
        return tuple(tensors[name].rows[span].reshape(-1) for name in names)

    def verify(self) -> int:
        """Check everything as every store does, and that offsets and index agree."""
        checked = super().verify()
        for name, rows in self.rows.groupby("file"):
            offsets = self.tensors(self.file_numbers[rows.index[0]])[_OFFSETS]
            bounds = offsets.tensor(offsets.rows).numpy()
            first, last = bounds[rows["row"]], bounds[rows["row"] + 1]
            if (first != rows["start"]).any() or (last - first != rows["tokens"]).any():
                raise self.damaged(str(name), "its offsets differ from the index")
        return checked

    def get(self, identity: str) -> Tensor:
        """Return the tokens of a clip's caption, [tokens, dim].

        Raises:
            StoreError: not encoded, or damaged on disk.
        """
        return self.at(self.locate(identity))

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
        tokens, is_int8 = first[_TOKENS], _SCALES in first
        dtype = parse_dtype(self.identity["dtype"]) if is_int8 else tokens.dtype
        token_bytes = math.prod(tokens.shape) * dtype.itemsize
        filled = (lengths * token_bytes).tolist()
        lent = memory.take_padded(len(numbers), max_length * token_bytes, filled)
        batch = lent.tensor.view(dtype).view(-1, max_length, *tokens.shape)
        # plain lists and numpy: a batch takes few operations beside the copies
        stops, checked = (self._starts[where] + lengths).tolist(), self.checked[where].tolist()
        for place, (number, start, stop) in enumerate(zip(numbers, starts, stops, strict=True)):
            tensors = self.tensors(number)
            data = tensors[_TOKENS].rows[start:stop].reshape(-1)
            if is_int8:
                scales = tensors[_SCALES]
                row = batch[place, : stop - start]
                dequantise(tokens.tensor(data), scales.tensor(scales.rows[start:stop]), row)
            else:
                lent.array[place, : filled[place]] = data
            if not checked[place]:  # now that the copy brought it into the cache
                self.check(positions[place], self.parts(positions[place]))
        return batch, lengths
