"""Latents of clips on disk: one safetensors file holds samples of one bucket, [N, C, T, H, W]."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from opensora.buckets.bucket import Bucket
from opensora.core.errors import StoreError
from opensora.stores.files import (
    as_bytes,
    checksum,
    map_tensors,
    read_record,
    write_index,
    write_store_file,
)
from opensora.stores.memory import BatchMemory
from opensora.stores.store import MappedTensor, Store
from opensora.tables.columns import ID

MADE_BY = "encode_videos"
MOMENTS = "moments"  # posterior mode of an identity: mean and deviation instead of one draw
_TENSOR = "latents"
_COLUMNS = {
    ID: "str",
    "bucket": "str",
    "file": "str",
    "row": "int64",
    "num_frames": "int64",
    "height": "int64",
    "width": "int64",
    "fps": "float64",
    "sha256": "str",
    "checksum": "int64",
}


def latent_file_name(bucket: Bucket, part: int) -> str:
    """Name of the `part`-th file of a bucket."""
    return f"{bucket.resolution}_{bucket.num_frames}_{bucket.aspect_ratio}-{part:05d}.safetensors"


def write_latents(
    path: Path,
    latents: Sequence[Tensor],
    items: pd.DataFrame,
    bucket: Bucket,
    identity: Mapping[str, Any],
) -> None:
    """Write the samples of one file.

    Args:
        path: the file.
        latents: N tensors [C, T, H, W] on the CPU; the channels of "moments" are C means, then C
            standard deviations.
        items: N rows with id, fps (of the frames in use) and sha256 of the clip file.
        bucket: the bucket of all of them.
        identity: the encoder.
    """
    stacked = torch.stack(list(latents))  # [N, C, T, H, W]
    checksums = [checksum(row) for row in as_bytes(stacked, 2)]
    record = _record(items, bucket, identity) | {"checksums": checksums}
    write_store_file(path, {_TENSOR: stacked}, record)


def _record(items: pd.DataFrame, bucket: Bucket, identity: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "identity": dict(identity),
        "bucket": str(bucket),
        "ids": items[ID].tolist(),
        "fps": items["fps"].tolist(),
        "sha256": items["sha256"].tolist(),
    }


def is_latent_file(
    path: Path, items: pd.DataFrame, bucket: Bucket, identity: Mapping[str, Any]
) -> bool:
    """Tell whether a file holds exactly these items from this encoder, every bit as written."""
    record, tensors = read_record(path), map_tensors(path)
    if record is None or tensors is None or _TENSOR not in tensors:
        return False
    if any(record.get(name) != value for name, value in _record(items, bucket, identity).items()):
        return False
    return record.get("checksums") == [checksum(row) for row in as_bytes(tensors[_TENSOR], 2)]


def write_latent_index(
    folder: Path, names: Sequence[str], identity: Mapping[str, Any]
) -> pd.DataFrame:
    """Write the index of finished files; no file gives a valid empty index.

    Returns:
        The rows of the index.
    """
    frames = []
    for name in names:
        record = read_record(folder / name)
        if record is None:
            raise StoreError(f"{folder / name}: unreadable; delete it and run {MADE_BY} again")
        bucket = Bucket.parse(record["bucket"])
        height, width = bucket.size
        rows = pd.DataFrame({ID: record["ids"], "bucket": record["bucket"], "file": name})
        frames.append(
            rows.assign(
                row=range(len(rows)),
                num_frames=bucket.num_frames,
                height=height,
                width=width,
                fps=record["fps"],
                sha256=record["sha256"],
                checksum=record["checksums"],
            )
        )
    empty = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _COLUMNS.items()})
    rows = pd.concat(frames, ignore_index=True).astype(_COLUMNS) if frames else empty
    write_index(folder, rows[list(_COLUMNS)], identity)
    return rows


class LatentStore(Store):
    """Read latents by (id, bucket).

    Attributes:
        fps: float32 [rows], of the frames in use.

    Raises:
        StoreError: no index, indexes of different encoders, or one item twice.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(root, made_by=MADE_BY, columns=_COLUMNS)
        self._row_numbers = self.rows["row"].to_numpy()
        self.fps = self.rows["fps"].to_numpy(dtype=np.float32)
        self._positions: dict[str, dict[str, int]] = {
            str(bucket): dict(zip(rows[ID], rows.index, strict=True))
            for bucket, rows in self.rows.groupby("bucket")
        }
        if sum(map(len, self._positions.values())) < len(self.rows):
            keys = self.rows[["bucket", ID]]
            bucket, twice = keys[keys.duplicated()].iloc[0]
            raise StoreError(f"{self.root}: two files hold {bucket} {twice}; delete the old folder")

    def __len__(self) -> int:
        return len(self.rows)

    def locate(self, identity: str, bucket: Bucket) -> int:
        """Return the position in `rows` of a clip at a bucket.

        Raises:
            StoreError: it was never encoded.
        """
        try:
            return self._positions[str(bucket)][identity]
        except KeyError as error:
            raise StoreError(
                f"{self.root}: no latent of {identity!r} in bucket {bucket}; run {MADE_BY} with the"
                " plan that training reads"
            ) from error

    def missing(self, items: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of `items` (id, bucket) that the store does not hold."""
        pairs = zip(items["bucket"], items[ID], strict=True)
        absent = [name not in self._positions.get(bucket, ()) for bucket, name in pairs]
        return items[np.array(absent, dtype=bool)]

    def parts(self, position: int) -> tuple[np.ndarray, ...]:
        """Return (the latent,) of a row, by memory map, unchecked."""
        return (self._mapped_latents(position).rows[self._row_numbers[position]],)

    def _mapped_latents(self, position: int) -> MappedTensor:
        return self.tensors(self.file_numbers[position])[_TENSOR]

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

    def read(self, positions: Sequence[int], memory: BatchMemory) -> Tensor:
        """Copy rows of one bucket out of their files, once.

        Args:
            positions: B positions in `rows`.
            memory: where they go.

        Returns:
            [B, C, T, H, W] in the stored dtype.

        Raises:
            StoreError: damaged on disk.
        """
        where = np.asarray(positions)
        numbers, rows = self.file_numbers[where].tolist(), self._row_numbers[where].tolist()
        first = self.tensors(numbers[0])[_TENSOR]
        lent = memory.take(len(numbers), first.rows.shape[1])
        # plain lists and numpy: a batch takes few operations beside the copies
        checked = self.checked[where].tolist()
        for place, (number, row) in enumerate(zip(numbers, rows, strict=True)):
            data = self.tensors(number)[_TENSOR].rows[row]
            lent.array[place] = data
            if not checked[place]:  # now that the copy brought it into the cache
                self.check(positions[place], (data,))
        return lent.tensor.view(first.dtype).view(-1, *first.shape)
