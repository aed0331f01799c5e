"""Text embeddings on disk: ragged `[tokens, dim]` plus offsets; no padding, equal captions once."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from opensora.core.errors import StoreError
from opensora.datasets.store_file import Store, read_record, row_crc, write_index, write_store_file
from opensora.tables.columns import ID, TEXT

MADE_BY = "encode_captions"
_TENSOR = "tokens"
_COLUMNS = {
    ID: "str",
    "file": "str",
    "row": "int64",
    "start": "int64",
    "tokens": "int64",
    "crc32": "int64",
}


def write_embeddings(
    path: Path, embeddings: Sequence[Tensor], texts: Sequence[str], identity: Mapping[str, Any]
) -> None:
    """Write one file.

    Args:
        path: the file.
        embeddings: one tensor [tokens, dim] per text, on the CPU.
        texts: the captions, all different.
        identity: the encoder.
    """
    lengths = [len(embedding) for embedding in embeddings]
    record = {
        "identity": dict(identity),
        "texts": list(texts),
        "tokens": lengths,
        "crc32": [row_crc(embedding) for embedding in embeddings],
    }
    tensors = {
        _TENSOR: torch.cat(list(embeddings)),  # [sum of tokens, dim]
        "offsets": torch.tensor([0, *accumulate(lengths)]),  # [texts + 1]
    }
    write_store_file(path, tensors, record)


def is_finished(path: Path, texts: Sequence[str], identity: Mapping[str, Any]) -> bool:
    """Tell whether a file already holds exactly these texts from this encoder."""
    record = read_record(path)
    return (
        record is not None
        and record.get("identity") == dict(identity)
        and record.get("texts") == list(texts)
    )


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
        parts.append(part.assign(row=range(len(part)), start=starts, crc32=record["crc32"]))
    kinds = {name: kind for name, kind in _COLUMNS.items() if name != ID} | {TEXT: "str"}
    empty = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})
    texts = pd.concat(parts, ignore_index=True).astype(kinds) if parts else empty
    rows = captions[[ID, TEXT]].merge(texts, on=TEXT, how="left", validate="many_to_one")
    rows = rows[list(_COLUMNS)].astype(_COLUMNS)
    write_index(folder, rows, identity)
    return rows


class EmbeddingStore(Store):
    """Read text embeddings by clip id.

    Raises:
        StoreError: no index, indexes of different encoders, or one id twice.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(root, made_by=MADE_BY, columns=_COLUMNS)
        self._starts = self.rows["start"].tolist()
        self._lengths = self.rows["tokens"].tolist()
        self._positions = {name: position for position, name in enumerate(self.rows[ID])}
        if len(self._positions) < len(self.rows):
            twice = self.rows[ID][self.rows[ID].duplicated()].iloc[0]
            raise StoreError(f"{self.root}: holds {twice!r} twice; delete it and run {MADE_BY}")

    def __len__(self) -> int:
        return len(self.rows)

    def missing(self, ids: pd.Series) -> pd.Series:
        """Return those of `ids` that the store does not hold."""
        return ids[~ids.isin(self.rows[ID])]

    def get(self, identity: str) -> Tensor:
        """Return the tokens of a clip's caption, [tokens, dim] in the stored dtype.

        Raises:
            StoreError: not encoded, or damaged on disk.
        """
        try:
            position = self._positions[identity]
        except KeyError as error:
            raise StoreError(
                f"{self.root}: no embedding of {identity!r}; run {MADE_BY} with the manifest that"
                " training reads"
            ) from error
        start = self._starts[position]
        span = slice(start, start + self._lengths[position])
        return self.read_slice(position, _TENSOR, span)
