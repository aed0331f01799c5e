"""Deal the clips that could not be encoded out of a plan; what is left keeps its order.

Within an epoch and a bucket the clips that stay are dealt anew, in the plan's order, into batches
of the same sizes. Without a rejected clip the plan is the same file, to the byte.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from opensora.core.errors import ConfigError, TableError
from opensora.core.io import atomic_path
from opensora.plans.compile import ACCUMULATE, BatchPlan, step_entries, whole_steps, write_plan
from opensora.plans.entries import Entries
from opensora.plans.stage_plan import require_steps
from opensora.tables.columns import DETAIL, ID, OK, STATUS
from opensora.tables.parquet import read_rows
from opensora.tables.reasons import unknown_status

LATENTS_RULE, EMBEDDINGS_RULE = "encode_videos", "encode_captions"
SETTLED_FROM = "settled_from"  # hash of the plan as it was compiled
MAX_REJECTED = 0.01  # share of a plan's clips
_SHOWN_REASONS = 3


def read_index(paths: Sequence[str | Path], rule: str, *, has_buckets: bool) -> pd.DataFrame:
    """Read what a plan needs of the indexes of all shards: who is encoded, and why not.

    Args:
        paths: indexes, or folders of them.
        rule: that made them.
        has_buckets: whether a row is of one bucket.

    Raises:
        TableError: a file is missing, is no such index, or holds a status that is none.
    """
    columns = [ID, *(["bucket"] if has_buckets else []), STATUS, DETAIL]
    files: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(file for file in path.glob("*.parquet") if not file.name.startswith("."))
        files += inside if path.is_dir() else [path]
    if not files:
        raise TableError(f"{paths[0]}: holds no index of {rule}; run it")
    parts = []
    for path in files:
        try:
            parts.append(read_rows(path, columns).to_pandas()[columns].astype(str))
        except (OSError, ValueError, KeyError) as error:
            raise TableError(f"{path}: not an index of {rule}; run it again") from error
        if found := unknown_status(parts[-1][STATUS].unique()):
            raise TableError(f"{path}: status is {found[1]}; run {rule} again")
    return pd.concat(parts, ignore_index=True)


def find_rejected(
    plan: BatchPlan, latents: pd.DataFrame | None, embeddings: pd.DataFrame | None
) -> pd.DataFrame:
    """Look up which (clip, bucket) pairs of a plan could not be encoded.

    Args:
        plan: as it was compiled.
        latents: rows of the latent indexes: id, bucket, status, detail; None where a stage
            encodes as it goes.
        embeddings: rows of the embedding indexes: id, status, detail, one a caption; None likewise.

    Returns:
        Columns id, bucket, stage, reason, detail; a pair that failed twice is there once.

    Raises:
        TableError: a pair stands in no index.
    """
    pairs = plan.items()
    parts = []
    for table, keys, rule in (
        (latents, [ID, "bucket"], LATENTS_RULE),
        (embeddings, [ID], EMBEDDINGS_RULE),
    ):
        if table is None:
            continue
        # a clip with several windows, or captions, is lost where none is encoded
        good_first = np.argsort((table[STATUS] != OK).to_numpy(), kind="stable")
        rows = table.iloc[good_first][[*keys, STATUS, DETAIL]].drop_duplicates(keys)
        found = pairs.merge(rows, how="left", on=keys, validate="many_to_one")
        _require_encoded(found, rule)
        bad = found[(found[STATUS] != OK).to_numpy()]
        parts.append(bad.rename(columns={STATUS: "reason"}).assign(stage=rule))
    columns = [ID, "bucket", "stage", "reason", DETAIL]
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=str) for name in columns})
    return pd.concat(parts, ignore_index=True)[columns].drop_duplicates([ID, "bucket"])


def _require_encoded(found: pd.DataFrame, rule: str) -> None:
    missing = found[found[STATUS].isna().to_numpy()]
    if len(missing):
        first = missing.iloc[0]
        raise TableError(
            f"plan: {len(missing)} of {len(found)} clips are in no index of {rule} (first:"
            f" {first[ID]!r} in bucket {first['bucket']}); run {rule} again for all shards"
        )


def require_few(rejected: pd.DataFrame, num_clips: int, max_rejected: float) -> None:
    """Refuse a stage that lost more of its clips than is allowed.

    Args:
        rejected: id, reason and detail, a row for each clip or pair.
        num_clips: distinct clips of the plan.
        max_rejected: largest share of them that may be missing.

    Raises:
        ConfigError: names count, share, the most frequent reasons, and the setting.
    """
    clips = rejected.drop_duplicates(ID)
    share = len(clips) / max(num_clips, 1)
    if share > max_rejected:
        counts = clips["reason"].value_counts()
        reasons = []
        for reason in sorted(counts.index, key=lambda name: (-counts[name], name)):
            example = clips[(clips["reason"] == reason).to_numpy()].iloc[0]
            reasons.append(
                f"{reason} {counts[reason]} (such as {example[ID]!r}: {example[DETAIL]})"
            )
        raise ConfigError(
            f"{len(clips)} of the {num_clips} clips of the plan, {100 * share:.3g} %, can not be"
            f" trained: {'; '.join(reasons[:_SHOWN_REASONS])}; mend the files and run it again,"
            f" or raise max_rejected, which is {max_rejected:g}"
        )


def deal_out(plan: BatchPlan, rejected: pd.DataFrame) -> pd.DataFrame:
    """Deal the clips that stay into batches of the same sizes.

    A batch that can not be filled any more is left out, or is smaller where the plan was made
    without `drop_last`; at the end what fills no step of all processes.

    Args:
        plan: as it was compiled.
        rejected: id and bucket of the pairs to leave out; each is in the plan.

    Returns:
        A plan as `compile_plan` makes it.

    Raises:
        ConfigError: no step is left, or fewer than `num_steps`.
    """
    groups, sizes = _groups(plan), np.diff(plan.entries.offsets)
    stays = ~_is_rejected(plan, rejected)
    entry = plan.entries.entry
    # 1. clips that stay, epoch and bucket after epoch and bucket, each in the plan's order
    order = np.argsort(groups[entry], kind="stable")
    order = order[stays[order]]
    held = np.bincount(groups[entry[order]], minlength=int(groups.max(initial=-1)) + 1)
    # 2. entries in the same order: where each would begin among the clips of its group
    by_group = np.argsort(groups, kind="stable")
    wanted = sizes[by_group]
    first = np.r_[True, np.diff(groups[by_group]) > 0][: len(by_group)]
    total = np.cumsum(wanted) - wanted
    begin = total - total[first][np.cumsum(first) - 1]
    dealt = np.clip(held[groups[by_group]] - begin, 0, wanted)
    if plan.metadata.get("drop_last", True):
        dealt[dealt < wanted] = 0
    start = (np.cumsum(held) - held)[groups[by_group]] + begin
    # 3. back to the order of the plan
    new_sizes, starts = np.empty_like(sizes), np.empty_like(start)
    new_sizes[by_group], starts[by_group] = dealt, start
    kept = np.flatnonzero(new_sizes > 0)
    offsets = np.concatenate(([0], new_sizes[kept].cumsum()))
    places = np.arange(offsets[-1]) + np.repeat(starts[kept] - offsets[:-1], new_sizes[kept])
    clips = plan.entries.clips[order[places]]
    lists = Entries(offsets.astype(np.int32), clips, plan.entries.ids).column()
    columns = {name: plan.table[name].take(pa.array(kept)) for name in ("epoch", "bucket")}
    settled = whole_steps(pa.table({**columns, "ids": lists}), step_entries(plan.metadata))
    _require_a_step_left(plan, len(settled), len(kept))
    pairs = sorted(zip(rejected[ID], rejected["bucket"], strict=True))
    text = json.dumps([plan.hash, *pairs], ensure_ascii=False)
    settled.attrs |= plan.metadata
    settled.attrs |= {"hash": hashlib.sha256(text.encode()).hexdigest(), SETTLED_FROM: plan.hash}
    return settled


def write_settled(
    plan: BatchPlan, source: str | Path, rejected: pd.DataFrame, target: str | Path
) -> None:
    """Write the settled plan; the same bytes where nothing is rejected.

    Args:
        plan: as it was compiled.
        source: its file.
        rejected: id and bucket of the pairs to leave out.
        target: where to write.

    Raises:
        ConfigError: no step is left, or fewer than `num_steps`.
    """
    if len(rejected):
        write_plan(deal_out(plan, rejected), target)
        return
    with atomic_path(target) as path:
        shutil.copyfile(source, path)


def _groups(plan: BatchPlan) -> np.ndarray:
    """Int64 [B], a number for the epoch and bucket of each entry."""
    bucket = plan.table["bucket"].combine_chunks()
    epoch = plan.table["epoch"].to_numpy().astype(np.int64)
    return epoch * max(len(bucket.dictionary), 1) + bucket.indices.to_numpy()


def _is_rejected(plan: BatchPlan, rejected: pd.DataFrame) -> np.ndarray:
    """Bool [clips], whether the pair of each place of the plan is to be left out."""
    bucket = plan.table["bucket"].combine_chunks()
    number = {name: place for place, name in enumerate(bucket.dictionary.to_pylist())}
    width = max(len(number), 1)
    clip = pa.array(rejected[ID], pa.large_string())
    place = pc.index_in(clip, value_set=plan.entries.ids).to_numpy(zero_copy_only=False)
    keys = place.astype(np.int64) * width + rejected["bucket"].map(number).to_numpy(np.int64)
    of_entry = bucket.indices.to_numpy().astype(np.int64)[plan.entries.entry]
    return np.isin(plan.entries.clips.astype(np.int64) * width + of_entry, keys)


def _require_a_step_left(plan: BatchPlan, batches: int, before: int) -> None:
    world_size, accumulate = plan.metadata["world_size"], plan.metadata.get(ACCUMULATE, 1)
    if batches == 0:
        each = f" with {accumulate} each (accumulate)" if accumulate > 1 else ""
        raise ConfigError(
            f"plan: of {len(plan)} micro batches {before} are left without the rejected clips,"
            f" fewer than the {world_size} processes{each}; mend the files, or add clips"
        )
    if num_steps := plan.metadata.get("num_steps"):
        epochs = plan.metadata["compiled_epochs"]
        dealt = {"world_size": world_size, "accumulate": accumulate}
        require_steps(num_steps, batches, epochs=epochs, **dealt)
