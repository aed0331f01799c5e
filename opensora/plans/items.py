"""What a stage has to encode: its clips at their buckets, one table a shard.

A table depends on which pairs of a clip and a bucket are trained, never on the order of the plan:
another number of processes deals the same pairs out, and nothing is encoded again. Clips that rest
for an epoch because they fill no batch are among them: one clip more decides which ones rest.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from opensora.buckets.bucket import Bucket
from opensora.buckets.bucket_config import IMAGE_FPS, BucketRule
from opensora.buckets.windows import with_windows
from opensora.core.errors import TableError
from opensora.core.seed import stable_shard
from opensora.core.text import counted
from opensora.plans.micro_batches import cell_codes, trained_cells
from opensora.tables.columns import ID, PATH, SHARD, WINDOW
from opensora.tables.io import write_table

_TYPES = {
    **dict.fromkeys((ID, PATH, "sha256", "bucket", "split"), "str"),
    **{"fps": "float64", "frame_interval": "int64", WINDOW: "int64"},
}


def clip_shards(manifest: pd.DataFrame, num_shards: int) -> pd.Series:
    """The shard of each clip: its video's where the manifest says it, else by a hash of its id.

    Raises:
        TableError: the manifest names a shard that there is not.
    """
    if SHARD not in manifest:
        return manifest[ID].map(lambda name: stable_shard(name, num_shards)).astype("int64")
    shards = manifest[SHARD].astype("int64")
    if not shards.between(0, num_shards - 1).all():
        raise TableError(
            f"the manifest has clips of shard {int(shards.max())} and there are {num_shards}; run"
            " build_manifest again with this number of shards"
        )
    return shards


def trained_pairs(
    assignments: Sequence[pd.DataFrame],
    rules: Sequence[BucketRule],
    *,
    epochs: int,
    drop_last: bool,
) -> pd.DataFrame:
    """The pairs of some epochs, of clips that rest too.

    Args:
        assignments: ASSIGNMENT tables, one per epoch, or a single one for all epochs.
        rules: the parsed bucket config.
        epochs: how many epochs a plan holds.
        drop_last: as the plan was compiled.

    Returns:
        Columns id and bucket (text), each pair once.
    """
    first = assignments[0]
    numbers: dict[Bucket, int] = {}
    found = np.empty(0, dtype=np.int64)  # number of the bucket x clips + clip
    for epoch in range(min(len(assignments), epochs)):
        codes, cells = cell_codes(assignments[epoch])
        counts = np.bincount(codes[codes >= 0], minlength=len(cells)).tolist()
        targets = trained_cells(dict(zip(cells, counts, strict=True)), rules, drop_last=drop_last)
        goes_to = np.full(len(cells) + 1, -1, dtype=np.int64)  # the last is of clips without a cell
        for place, cell in enumerate(cells):
            target = targets[cell]
            if target is not None:
                goes_to[place] = numbers.setdefault(target, len(numbers))
        buckets = goes_to[codes]
        clips = np.flatnonzero(buckets >= 0)
        found = np.union1d(found, buckets[clips] * len(first) + clips)
    names = np.array([str(bucket) for bucket in numbers], dtype=object)
    bucket, clip = np.divmod(found, max(len(first), 1))
    return pd.DataFrame({ID: first[ID].to_numpy()[clip], "bucket": names[bucket]}).astype(str)


def plan_items(
    manifest: pd.DataFrame,
    pairs: Sequence[pd.DataFrame],
    *,
    frame_interval: int,
    num_shards: int,
    windows: int = 1,
) -> list[pd.DataFrame]:
    """Some pairs, shard by shard, sorted by bucket and id.

    Args:
        manifest: MANIFEST table: path, fps and sha256 of the clips.
        pairs: columns id and bucket: which clips, at which buckets.
        frame_interval: source frames per used frame.
        num_shards: how many tables.
        windows: of a training clip at a bucket, see `with_windows`.

    Returns:
        Tables of id, path, sha256, fps (of the frames in use), bucket, frame_interval and split;
        with several windows also of the first frame of each.

    Raises:
        TableError: the manifest lacks clips of a plan, or describes them wrongly.
    """
    wanted = pd.concat(list(pairs)).drop_duplicates()
    wanted = wanted.sort_values(["bucket", ID], ignore_index=True)
    clips = manifest[[ID, PATH, "fps", "sha256", "split"]]
    clips = clips.assign(**{SHARD: clip_shards(manifest, num_shards)})
    items = wanted.merge(clips, on=ID, how="left")
    if items[PATH].isna().any():
        absent = items.loc[items[PATH].isna(), ID]
        raise TableError(
            f"the manifest lacks {counted(len(absent), 'clip')} of the plan, the first"
            f" {absent.iloc[0]!r}; run assign_buckets again with this manifest"
        )
    rates = items["fps"].astype(float)
    if not (rates > 0).all():
        wrong = items[~(rates > 0)].iloc[0]
        raise TableError(
            f"the manifest gives clip {wrong[ID]!r} {wrong['fps']} frames a second, expected more"
            " than 0; run build_manifest again"
        )
    is_image = items["bucket"].map(lambda name: Bucket.parse(name).is_image).astype(bool)
    intervals = pd.Series(frame_interval, index=items.index)
    items = items.assign(
        fps=(rates / frame_interval).mask(is_image, IMAGE_FPS),
        sha256=items["sha256"].fillna("").astype(str),
        frame_interval=intervals.mask(is_image, 1),  # the first frame is the same at any
    )
    columns = [ID, PATH, "sha256", "fps", "bucket", "frame_interval", "split"]
    if windows > 1:
        frames = dict(zip(manifest[ID], manifest["num_frames"], strict=True))
        items, columns = with_windows(items, frames, windows), [*columns, WINDOW]
    return [
        items.loc[items[SHARD] == shard, columns].reset_index(drop=True)
        for shard in range(num_shards)
    ]


def write_items(
    manifest: pd.DataFrame,
    pairs: Sequence[pd.DataFrame],
    folder: str | Path,
    *,
    frame_interval: int,
    shards: int,
    windows: int = 1,
) -> None:
    """Write `{shard}.parquet` for each shard; see `plan_items`.

    Args:
        manifest: MANIFEST table.
        pairs: see `plan_items`.
        folder: where the tables go.
        frame_interval: source frames per used frame.
        shards: how many tables.
        windows: rows of a clip at a bucket, if it is long enough.
    """
    settings = {"frame_interval": frame_interval, "num_shards": shards, "windows": windows}
    for shard, table in enumerate(plan_items(manifest, pairs, **settings)):
        types = {name: kind for name, kind in _TYPES.items() if name in table}
        write_table(table.astype(types), Path(folder) / f"{shard:04d}.parquet")
