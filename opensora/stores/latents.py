"""Latents of clips on disk: one safetensors file holds samples of one bucket, [N, C, T, H, W].

What a model is told of given frames stands beside them, in the same rows of further tensors.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from opensora.buckets.bucket import Bucket
from opensora.core.errors import StoreError
from opensora.stores.catalogue import Catalogue
from opensora.stores.files import as_bytes, checksum, write_store_file
from opensora.stores.index import LATENT_COLUMNS
from opensora.stores.keys import KEY, file_name
from opensora.stores.memory import BatchMemory
from opensora.stores.store import MappedTensor, Store
from opensora.tables.columns import ID, WINDOW

MADE_BY = "encode_videos"
TENSOR = "latents"


def write_latents(
    catalogue: Catalogue,
    latents: Sequence[Tensor],
    rows: pd.DataFrame,
    bucket: str,
    identity: Mapping[str, Any],
    beside: Mapping[str, Sequence[Tensor]] = {},
) -> tuple[Path, pd.DataFrame]:
    """Write the samples of one file, which `Catalogue.add` then enters.

    Args:
        catalogue: of the encoder's address.
        latents: N tensors [C, T, H, W] on the CPU; the channels of "moments" are C means, then C
            standard deviations.
        rows: N rows with key, and sha256 of the clip file.
        bucket: the bucket of all of them.
        identity: the encoder.
        beside: name -> N tensors of one shape.

    Returns:
        The file, and its rows for `Catalogue.add`.
    """
    keys = rows[KEY].tolist()
    record = {"identity": dict(identity), "bucket": bucket, "keys": keys}
    record["sha256"] = rows["sha256"].tolist()
    rows_of = {TENSOR: latents, **beside}
    tensors = {name: torch.stack(list(values)) for name, values in rows_of.items()}  # [N, ...]
    path = catalogue.path_of(file_name(bucket.replace("|", "_"), keys))
    written = write_store_file(path, tensors, record, _checksums)
    columns = {KEY: keys, "row": range(len(keys)), "checksum": written["checksums"]}
    return path, pd.DataFrame(columns | {"sha256": record["sha256"]})


def _checksums(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> list[int]:
    data = [as_bytes(tensors[name], 2) for name in names_of(tensors)]
    return [checksum(*parts) for parts in zip(*data, strict=True)]


def names_of(tensors: Iterable[str]) -> list[str]:
    """Names of the tensors of a file, the latents first."""
    return [TENSOR, *sorted(name for name in tensors if name != TENSOR)]


class LatentStore(Store):
    """Read latents by (id, bucket).

    Attributes:
        fps: float32 [rows], of the frames in use.
        windows: the most that a clip has at a bucket.

    Raises:
        StoreError: no index, indexes of different encoders, or one item twice.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(root, made_by=MADE_BY, columns=LATENT_COLUMNS, zeros={WINDOW: "int64"})
        self._row_numbers = self.rows["row"].to_numpy()
        self.fps = self.rows["fps"].to_numpy(dtype=np.float32)
        self._positions: dict[str, dict[str, int]] = {
            str(bucket): dict(zip(rows[ID], rows.index, strict=True))
            for bucket, rows in self.rows.groupby("bucket")
        }
        self.windows = 1
        if sum(map(len, self._positions.values())) < len(self.rows):
            self._order_windows()

    def _order_windows(self) -> None:
        """Let `_positions` say where the windows of a clip begin in `_order`, and how many follow.

        Arrays and not a list a clip: a run has millions of them.
        """
        keys = self.rows[["bucket", ID, WINDOW]].sort_values(["bucket", ID, WINDOW])
        if (is_twice := keys.duplicated()).any():
            bucket, clip, _ = keys[is_twice].iloc[0]
            raise self.doubled(f"{bucket} {clip}")
        self._order = keys.index.to_numpy()
        first = np.flatnonzero(~keys.duplicated(["bucket", ID]))
        numbers = np.diff(first, append=len(keys))
        self._numbers = np.zeros(len(keys), dtype=np.int64)
        self._numbers[first] = numbers
        self.windows = int(numbers.max())
        clips = keys.iloc[first].assign(place=first)
        self._positions = {
            str(bucket): dict(zip(rows[ID], rows["place"], strict=True))
            for bucket, rows in clips.groupby("bucket")
        }

    def __len__(self) -> int:
        return len(self.rows)

    def locate(self, identity: str, bucket: Bucket) -> int:
        """Return the position in `rows` of a clip at a bucket, of several windows the first.

        Raises:
            StoreError: it was never encoded.
        """
        return int(self.locate_all(identity, bucket)[0])

    def locate_all(self, identity: str, bucket: Bucket) -> Sequence[int]:
        """Return the positions in `rows` of all windows of a clip at a bucket, as they begin.

        Raises:
            StoreError: it was never encoded.
        """
        try:
            place = self._positions[str(bucket)][identity]
        except KeyError as error:
            raise StoreError(
                f"{self.root}: no latent of {identity!r} in bucket {bucket}; run {MADE_BY} with the"
                " items of the plan that training reads"
            ) from error
        if self.windows == 1:
            return (place,)
        return self._order[place : place + int(self._numbers[place])].tolist()

    def missing(self, items: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of `items` (id, bucket) that the store does not hold."""
        pairs = zip(items["bucket"], items[ID], strict=True)
        absent = [name not in self._positions.get(bucket, ()) for bucket, name in pairs]
        return items[np.array(absent, dtype=bool)]

    def parts(self, position: int) -> tuple[np.ndarray, ...]:
        """Return the latent of a row, then what stands beside it, by memory map, unchecked."""
        tensors, row = self.tensors(self.file_numbers[position]), self._row_numbers[position]
        return tuple(tensors[name].rows[row] for name in names_of(tensors))

    def _mapped_latents(self, position: int) -> MappedTensor:
        return self.tensors(self.file_numbers[position])[TENSOR]

    def get(self, identity: str, bucket: Bucket) -> Tensor:
        """Return the latent of a clip at a bucket, [C, T, H, W] in the stored dtype.

        It is a view of the file: whoever wants to change it clones it.

        Raises:
            StoreError: not encoded, or damaged on disk.
        """
        return self.at(self.locate(identity, bucket))

    def at(self, position: int) -> Tensor:
        """Return the latent of row `position` of `rows`, as `get` does.

        Raises:
            StoreError: damaged on disk.
        """
        parts = self.parts(position)
        self.check(position, parts)
        return self._mapped_latents(position).tensor(parts[0])[0]

    def read(self, positions: Sequence[int], memory: BatchMemory) -> dict[str, Tensor]:
        """Copy rows of one bucket out of their files, once.

        Args:
            positions: B positions in `rows`.
            memory: where they go.

        Returns:
            `latents` [B, C, T, H, W] in the stored dtype, and what stands beside them.

        Raises:
            StoreError: damaged on disk.
        """
        where = np.asarray(positions)
        numbers, rows = self.file_numbers[where].tolist(), self._row_numbers[where].tolist()
        first = self.tensors(numbers[0])
        names = names_of(first)
        lent = [memory.take(len(numbers), first[name].rows.shape[1]) for name in names]
        # plain lists and numpy: a batch takes few operations beside the copies
        checked = self.checked[where].tolist()
        for place, (number, row) in enumerate(zip(numbers, rows, strict=True)):
            tensors = self.tensors(number)
            data = [tensors[name].rows[row] for name in names]
            for rows_of, part in zip(lent, data, strict=True):
                rows_of.array[place] = part
            if not checked[place]:  # now that the copy brought it into the cache
                self.check(positions[place], data)
        return {
            name: rows_of.tensor.view(first[name].dtype).view(-1, *first[name].shape)
            for name, rows_of in zip(names, lent, strict=True)
        }
