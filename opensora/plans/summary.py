"""Account for every clip of a plan: where it went, what it costs, why it is missing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from opensora.buckets.bucket import Bucket, TokenGrid
from opensora.buckets.bucket_config import BucketConfig, BucketRule, parse_bucket_config
from opensora.buckets.crop import cut_share
from opensora.core.text import counted
from opensora.plans.by_source import first_epoch_samples
from opensora.plans.compile import ACCUMULATE, step_entries
from opensora.plans.micro_batches import batch_sizes, cell_codes, count_cells, trained_cells

TOO_FEW_FOR_A_BATCH = "too_few_for_a_batch"
REMAINDER = "remainder"  # beyond the last full batch this epoch; the next shuffle takes others
BEYOND_SHARE = "beyond_source_share"  # of its source; the next epoch takes those seen least


def summarize_plan(
    clips: pd.DataFrame,
    assignment: pd.DataFrame,
    plan: pd.DataFrame,
    bucket_config: BucketConfig,
    *,
    grid: TokenGrid,
    drop_last: bool = True,
    is_mixed: bool = False,
) -> dict[str, Any]:
    """Describe the first epoch bucket by bucket, and the whole plan in totals.

    Args:
        clips: height and width in pixels of the clips assigned, in the same order.
        assignment: ASSIGNMENT table of the first epoch.
        plan: what `compile_plan` returned.
        bucket_config: the config of both.
        grid: how many tokens a sample of a bucket is.
        drop_last: as the plan was compiled.
        is_mixed: sources do not count alike, so that a clip may be several samples, or none.

    Returns:
        `buckets`: per bucket samples (clips in it after back-off, if mixed those that are seen),
        batches, batch_size, size, tokens per sample and share of pixels cropped; `dropped`: clips
        not trained in the first epoch, by reason; `totals`; `warnings`: sentences.
    """
    rules = parse_bucket_config(bucket_config)
    cells = count_cells(assignment)
    targets = trained_cells(cells, rules, drop_last=drop_last)
    cut = cut_away(clips, assignment, targets)
    buckets = describe_buckets(cells, targets, rules, grid, cut=cut, drop_last=drop_last)
    dropped = {str(name): int(n) for name, n in assignment["reason"].value_counts().items() if name}
    starved = sum(cells[cell] for cell, target in targets.items() if target is None)
    remainder = sum(
        max(row["samples"] - row["batches"] * row["batch_size"], 0) for row in buckets.values()
    )
    dropped |= {TOO_FEW_FOR_A_BATCH: starved, REMAINDER: remainder}
    if is_mixed:
        dropped |= {REMAINDER: 0, BEYOND_SHARE: _as_mixed(buckets, plan)}
    samples = _samples(plan)
    return {
        "hash": plan.attrs["hash"],
        "token_size": list(grid.token_size),
        "buckets": buckets,
        "dropped": {name: count for name, count in sorted(dropped.items()) if count},
        "totals": {
            "clips": len(assignment),
            "epochs": plan.attrs["compiled_epochs"],
            "world_size": plan.attrs["world_size"],
            **{name: plan.attrs[name] for name in (ACCUMULATE,) if name in plan.attrs},
            "batches_first_epoch": sum(row["batches"] for row in buckets.values()),
            "micro_batches": len(plan),
            "steps": len(plan) // step_entries(plan.attrs),
            "samples": int(samples.sum()),
            "tokens": sum(
                int(count) * grid.tokens(Bucket.parse(str(name))) for name, count in samples.items()
            ),
        },
        "warnings": _warnings(cells, targets, rules, buckets, plan),
    }


def _samples(plan: pd.DataFrame) -> pd.Series:
    """Samples of each bucket in all epochs."""
    lengths = pc.list_value_length(pa.array(plan["ids"]))
    return pd.Series(lengths.to_numpy(zero_copy_only=False)).groupby(plan["bucket"]).sum()


def _as_mixed(buckets: dict[str, dict[str, Any]], plan: pd.DataFrame) -> int:
    """Say of each bucket what the first epoch has of it; returns the clips that it has none of."""
    samples, batches, seen = first_epoch_samples(plan)
    clips = sum(row["samples"] for row in buckets.values())
    for name, row in buckets.items():
        row |= {"samples": samples.get(name, 0), "batches": batches.get(name, 0)}
    return clips - seen


def describe_buckets(
    cells: Mapping[Bucket, int],
    targets: Mapping[Bucket, Bucket | None],
    rules: list[BucketRule],
    grid: TokenGrid,
    *,
    cut: Mapping[Bucket, float],
    drop_last: bool = True,
) -> dict[str, dict[str, Any]]:
    """Describe the buckets of one epoch after back-off.

    Args:
        cells: clips of each cell, as assigned.
        targets: where they are trained, see `trained_cells`.
        rules: the parsed bucket config.
        grid: how many tokens a sample of a bucket is.
        cut: shares of pixels that the clips of each bucket lose, summed, see `cut_away`.
        drop_last: whether what does not fill a batch is left out.

    Returns:
        By bucket (text): samples, batches, batch_size, num_frames, height, width,
        tokens_per_sample, and cropped: the mean share of its pixels that a clip loses.
    """
    samples: dict[Bucket, int] = {}
    for cell, target in targets.items():
        if target is not None:
            samples[target] = samples.get(target, 0) + cells[cell]
    sizes = batch_sizes(rules)
    rows = {}
    for bucket in sorted(samples):
        batch_size = sizes[bucket.resolution, bucket.num_frames]
        height, width = bucket.size
        full = samples[bucket] // batch_size
        rows[str(bucket)] = {
            "samples": samples[bucket],
            "batches": full if drop_last else -(-samples[bucket] // batch_size),
            "batch_size": batch_size,
            "num_frames": bucket.num_frames,
            "height": height,
            "width": width,
            "tokens_per_sample": grid.tokens(bucket),
            "cropped": round(cut[bucket] / samples[bucket], 6),
        }
    return rows


def cut_away(
    clips: pd.DataFrame, assignment: pd.DataFrame, targets: Mapping[Bucket, Bucket | None]
) -> dict[Bucket, float]:
    """Sum up the shares of their pixels that the clips of each bucket lose where they are trained.

    Args:
        clips: height and width in pixels.
        assignment: ASSIGNMENT table of the same clips in the same order.
        targets: where the clips of each cell are trained, see `trained_cells`.
    """
    codes, cells = cell_codes(assignment)
    sizes = np.array([(targets[cell] or cell).size for cell in cells]).reshape(-1, 2)
    rows = np.flatnonzero(codes >= 0)
    high, wide = sizes[codes[rows]].T
    own_high, own_wide = (clips[name].to_numpy()[rows] for name in ("height", "width"))
    lost = cut_share(own_high, own_wide, high, wide)
    shares = np.bincount(codes[rows], lost, minlength=len(cells))
    sums: dict[Bucket, float] = {}
    for cell, share in zip(cells, shares.tolist(), strict=True):
        if (target := targets[cell]) is not None:
            sums[target] = sums.get(target, 0.0) + share
    return sums


def _warnings(
    cells: Mapping[Bucket, int],
    targets: Mapping[Bucket, Bucket | None],
    rules: list[BucketRule],
    buckets: Mapping[str, Mapping[str, Any]],
    plan: pd.DataFrame,
) -> list[str]:
    sizes = batch_sizes(rules)
    sentences = []
    for cell, target in sorted(targets.items()):
        size, count = sizes[cell.resolution, cell.num_frames], cells[cell]
        start = f"{cell}: batch_size {size} exceeds its {counted(count, 'clip')}"
        if target == cell:
            if buckets[str(cell)]["samples"] < size:  # only without drop_last
                sentences.append(f"{start}, which are one smaller batch; lower it to {count}")
            continue
        if target is None:
            sentences.append(
                f"{start} and it has no neighbour to join: they are dropped; lower batch_size to"
                f" {count}, or set drop_last = False"
            )
        else:
            sentences.append(
                f"{start}: they join {target}; lower batch_size to {count} to train them as they"
                " are"
            )
    empty = [
        f"{rule.resolution}|{rule.num_frames}"
        for rule in rules
        if rule.is_used
        and not any(name.startswith(f"{rule.resolution}|{rule.num_frames}|") for name in buckets)
    ]
    if empty:
        sentences.append(f"no clip is trained in bucket {', '.join(empty)}")
    world_size, entries = plan.attrs["world_size"], step_entries(plan.attrs)
    epochs = range(plan.attrs["compiled_epochs"])
    fewest = int(plan["epoch"].value_counts().reindex(epochs, fill_value=0).min())
    if fewest < entries:
        each = f" with {entries // world_size} each" if entries > world_size else ""
        sentences.append(
            f"an epoch has {fewest} micro batches for {world_size} ranks{each}: one step spans"
            " epochs"
        )
    return sentences
