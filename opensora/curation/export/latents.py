"""Latents of clips as the cache of musubi-tuner, which then need not encode them again.

Layout of its format 1.0.1: `{clip}_{first}-{frames}_{width}x{height}_wan.safetensors` of a video
(5, 3 and twice 4 digits), `{clip}_{width}x{height}_wan.safetensors` of an image, each with one
tensor `latents_{T}x{H}x{W}_{dtype}` [C, T, H, W].
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from opensora.buckets.bucket import Bucket
from opensora.core.errors import StoreError, TableError
from opensora.core.io import not_written
from opensora.core.log import progress
from opensora.curation.export.names import SPLIT
from opensora.curation.export.trainers import as_json
from opensora.tables.checks import TRAIN
from opensora.tables.columns import CAPTION, DETAIL, ID, WINDOW

if TYPE_CHECKING:
    from torch import Tensor

    from opensora.stores.latents import LatentStore

MADE_BY = "WanVAE"
_GRID = [4, 8, 8]  # frames and pixels of a latent
# of Wan 2.1, to which the trainer's own autoencoder scales
_MEAN = (
    *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
    *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
)
_STD = (
    *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
    *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
)
_CLOSE = 1e-3
_MOMENTS = "moments"


def write_cache(rows: pd.DataFrame, latents: Path, now: Path, then: Path) -> pd.DataFrame:
    """Write dataset.toml, a data set for each bucket, and its cache.

    Args:
        rows: of clips, with `file` and `caption`.
        latents: folder of the indexes of a stage, or one of them.
        now: folder to write in.
        then: where it will stand.

    Returns:
        The rows of training that have no latent, with `detail`.

    Raises:
        StoreError: the latents are of another autoencoder, or damaged.
        TableError: none of the clips has one.
    """
    from opensora.stores.latents import LatentStore

    store = LatentStore(latents)
    _check(store, latents)
    found, left = with_latents(rows, store, latents)
    lines = ["[general]", "batch_size = 1", "enable_bucket = false # the latents have their sizes"]
    for text, part in found.groupby("bucket"):
        bucket = Bucket.parse(str(text))
        lines += _data_set(bucket, part, now, then)
    for row in progress(found.itertuples(), description="export latents", total=len(found)):
        _write(store, row, now / "cache" / _name(Bucket.parse(str(row.bucket))))
    (now / "dataset.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return left


def with_latents(
    rows: pd.DataFrame, store: "LatentStore", latents: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of training by whether they have a latent.

    Args:
        rows: of clips.
        store: the latents.
        latents: its folder, which errors name.

    Returns:
        A row for each latent with its `bucket`, `window` and `place` in the store; and the rows
        without one, with `detail`.

    Raises:
        TableError: none of the clips has one.
    """
    places = store.rows.assign(place=range(len(store)))
    train = rows[rows[SPLIT] == TRAIN]
    found = train.merge(places[[ID, "bucket", WINDOW, "place"]], on=ID)
    if found.empty:
        raise TableError(
            f"export: none of {len(train)} clips for training has a latent in {latents}; give the"
            " manifest that these were made of"
        )
    left = train[~train[ID].isin(found[ID])]
    return found, left.assign(**{DETAIL: f"no latent of it in {latents}"})


def means_of(store: "LatentStore", place: int) -> "Tensor":
    """A latent [C, T, H, W]; of moments, which are means before deviations, the means."""
    latent = store.at(place)
    return latent[: len(latent) // 2] if store.identity.get("posterior") == _MOMENTS else latent


def _check(store: "LatentStore", latents: Path) -> None:
    """Refuse latents that the trainer's autoencoder would not have made.

    Raises:
        StoreError: they are others.
    """
    said: dict[str, Any] = dict(store.identity)
    scaled = [*(said.get("latents_mean") or ()), *(said.get("latents_std") or ())]
    wanted = (*_MEAN, *_STD)
    same = len(scaled) == len(wanted) and all(
        abs(one - other) < _CLOSE for one, other in zip(scaled, wanted, strict=True)
    )
    if said.get("type") != MADE_BY or said.get("patch_size") != _GRID or not same:
        raise StoreError(
            f"{latents}: was made by {said.get('type', 'an unknown autoencoder')} with"
            f" {said.get('out_channels')} channels; musubi-tuner reads latents of Wan 2.1's"
            " autoencoder (WanVAE, 16 channels, 4 x 8 x 8): leave --latents out, and it encodes the"
            " clips itself"
        )


def _name(bucket: Bucket) -> str:
    height, width = bucket.size
    kind = "images" if bucket.is_image else f"videos_{bucket.num_frames}"
    return f"{kind}_{width}x{height}"


def _data_set(bucket: Bucket, part: pd.DataFrame, now: Path, then: Path) -> list[str]:
    """Write the table of a bucket; returns its lines of dataset.toml."""
    name, (height, width) = _name(bucket), bucket.size
    kind = "image" if bucket.is_image else "video"
    clips = part.drop_duplicates(ID)
    (now / f"{name}.jsonl").write_text(
        "".join(
            as_json({f"{kind}_path": str(then / file), "caption": text}) + "\n"
            for file, text in zip(clips["file"], clips[CAPTION], strict=True)
        ),
        encoding="utf-8",
    )
    (now / "cache" / name).mkdir(parents=True, exist_ok=True)
    lines = ["", "[[datasets]]", f"{kind}_jsonl_file = {as_json(then / f'{name}.jsonl')}"]
    lines += [f"cache_directory = {as_json(then / 'cache' / name)}"]
    lines += [f"resolution = [{width}, {height}]"]
    if not bucket.is_image:
        lines += [f"target_frames = [{bucket.num_frames}]", 'frame_extraction = "head"']
    return lines


def _write(store: "LatentStore", row: Any, cache: Path) -> None:
    """Write the file of a latent."""
    bucket = Bucket.parse(str(row.bucket))
    height, width = bucket.size
    latent = means_of(store, int(row.place))
    shape = "x".join(map(str, latent.shape[1:]))
    span = "" if bucket.is_image else f"_{int(getattr(row, WINDOW)):05d}-{bucket.num_frames:03d}"
    notes = {"architecture": "wan", "width": str(width), "height": str(height)}
    notes["format_version"] = "1.0.1"
    if not bucket.is_image:
        notes["frame_count"] = str(bucket.num_frames)
    file = cache / f"{Path(row.file).stem}{span}_{width:04d}x{height:04d}_wan.safetensors"
    _write_tensor(
        file, f"latents_{shape}_{str(latent.dtype).removeprefix('torch.')}", latent, notes
    )


def _write_tensor(file: Path, name: str, tensor: "Tensor", notes: dict[str, str]) -> None:
    """Write a safetensors file of one tensor; that library has no order for several notes."""
    import torch

    content = tensor.contiguous().view(torch.uint8).numpy().tobytes()
    kind = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}[tensor.dtype]
    facts = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [0, len(content)]}
    head = json.dumps({"__metadata__": notes, name: facts}, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    try:
        file.write_bytes(len(head).to_bytes(8, "little") + head + content)
    except OSError as error:
        raise not_written(error, file) from error
