"""Latents of clips on disk: one safetensors file holds samples of one bucket, [N, C, T, H, W]."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from opensora.core.errors import StoreError
from opensora.datasets.bucket import Bucket
from opensora.datasets.store_file import Store, read_record, row_crc, write_index, write_store_file
from opensora.tables.columns import ID

MADE_BY = "encode_videos"
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
    "crc32": "int64",
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
        latents: N tensors [C, T, H, W] on the CPU.
        items: N rows with id, fps (as told to the model) and sha256 of the clip file.
        bucket: the bucket of all of them.
        identity: the encoder.
    """
    record = {
        "identity": dict(identity),
        "bucket": str(bucket),
        "ids": items[ID].tolist(),
        "fps": items["fps"].tolist(),
        "sha256": items["sha256"].tolist(),
        "crc32": [row_crc(latent) for latent in latents],
    }
    write_store_file(path, {_TENSOR: torch.stack(list(latents))}, record)


def is_finished(
    path: Path, items: pd.DataFrame, bucket: Bucket, identity: Mapping[str, Any]
) -> bool:
    """Tell whether a file already holds exactly these items from this encoder."""
    record = read_record(path)
    if record is None:
        return False
    wanted = {
        "identity": dict(identity),
        "bucket": str(bucket),
        "ids": items[ID].tolist(),
        "fps": items["fps"].tolist(),
        "sha256": items["sha256"].tolist(),
    }
    return all(record.get(name) == value for name, value in wanted.items())


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
                crc32=record["crc32"],
            )
        )
    empty = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _COLUMNS.items()})
    rows = pd.concat(frames, ignore_index=True).astype(_COLUMNS) if frames else empty
    write_index(folder, rows[list(_COLUMNS)], identity)
    return rows


class LatentStore(Store):
    """Read latents by (id, bucket).

    Raises:
        StoreError: no index, indexes of different encoders, or one item twice.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(root, made_by=MADE_BY, columns=_COLUMNS)
        self._row_numbers = self.rows["row"].tolist()
        self._keys = self.rows["bucket"] + "\x1f" + self.rows[ID]
        self._positions = {key: position for position, key in enumerate(self._keys)}
        if len(self._positions) < len(self._keys):
            twice = self._keys[self._keys.duplicated()].iloc[0].replace("\x1f", " ")
            raise StoreError(f"{self.root}: two files hold {twice}; delete the stale folder")

    def __len__(self) -> int:
        return len(self.rows)

    def locate(self, identity: str, bucket: Bucket) -> int:
        """Return the position in `rows` of a clip at a bucket.

        Raises:
            StoreError: it was never encoded.
        """
        try:
            return self._positions[f"{bucket}\x1f{identity}"]
        except KeyError as error:
            raise StoreError(
                f"{self.root}: no latent of {identity!r} in bucket {bucket}; run {MADE_BY} with the"
                " plan that training reads"
            ) from error

    def missing(self, items: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of `items` (id, bucket) that the store does not hold."""
        return items[~(items["bucket"] + "\x1f" + items[ID]).isin(self._keys)]

    def get(self, identity: str, bucket: Bucket) -> Tensor:
        """Return the latent of a clip at a bucket, [C, T, H, W] in the stored dtype.

        Raises:
            StoreError: not encoded, or damaged on disk.
        """
        position = self.locate(identity, bucket)
        return self.read_slice(position, _TENSOR, self._row_numbers[position])
