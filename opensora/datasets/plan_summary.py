"""Account for every clip of a plan: where it went, what it costs, why it is missing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from opensora.datasets.backoff import relieve_starved_cells
from opensora.datasets.bucket import Bucket, BucketRule, parse_bucket_config
from opensora.datasets.plan import group_by_cell

TOO_FEW_FOR_A_BATCH = "too_few_for_a_batch"
REMAINDER = "remainder"  # beyond the last full batch this epoch; the next shuffle takes others


def summarize_plan(
    assignment: pd.DataFrame,
    plan: pd.DataFrame,
    bucket_config: Mapping[str, Mapping[Any, Any]],
    *,
    token_size: tuple[int, int, int],
) -> dict[str, Any]:
    """Describe the first epoch bucket by bucket, and the whole plan in totals.

    Args:
        assignment: ASSIGNMENT table of the first epoch.
        plan: what `compile_plan` returned.
        bucket_config: the config of both.
        token_size: frames, height and width in pixels that one token of the model covers.

    Returns:
        `buckets`: per bucket samples (clips in it after back-off), batches, batch_size, size and
        tokens per sample; `dropped`: clips not trained in the first epoch, by reason; `totals`;
        `warnings`: sentences.
    """
    rules = parse_bucket_config(bucket_config)
    cells = {cell: len(ids) for cell, ids in group_by_cell(assignment).items()}
    targets = relieve_starved_cells(cells, rules)
    samples: dict[Bucket, int] = {}
    for cell, target in targets.items():
        if target is not None:
            samples[target] = samples.get(target, 0) + cells[cell]
    buckets = _buckets(samples, rules, token_size)
    dropped = {str(name): int(n) for name, n in assignment["reason"].value_counts().items() if name}
    starved = sum(cells[cell] for cell, target in targets.items() if target is None)
    remainder = sum(row["samples"] - row["batches"] * row["batch_size"] for row in buckets.values())
    dropped |= {TOO_FEW_FOR_A_BATCH: starved, REMAINDER: remainder}
    tokens_by_bucket = {
        name: row["batch_size"] * row["tokens_per_sample"] for name, row in buckets.items()
    }
    # a later epoch may use a bucket that the first left empty
    for name in set(plan["bucket"]) - set(tokens_by_bucket):
        bucket = Bucket.parse(name)
        tokens_by_bucket[name] = _batch_size(bucket, rules) * _tokens(bucket, token_size)
    return {
        "hash": plan.attrs["hash"],
        "token_size": list(token_size),
        "buckets": buckets,
        "dropped": {name: count for name, count in sorted(dropped.items()) if count},
        "totals": {
            "clips": len(assignment),
            "epochs": plan.attrs["epochs"],
            "world_size": plan.attrs["world_size"],
            "batches_first_epoch": sum(row["batches"] for row in buckets.values()),
            "micro_batches": len(plan),
            "steps": len(plan) // plan.attrs["world_size"],
            "samples": int(plan["ids"].map(len).sum()),
            "tokens": int(plan["bucket"].map(tokens_by_bucket).sum()),
        },
        "warnings": _warnings(cells, targets, rules, buckets, plan),
    }


def _buckets(
    samples: Mapping[Bucket, int], rules: list[BucketRule], token_size: tuple[int, int, int]
) -> dict[str, dict[str, Any]]:
    rows = {}
    for bucket in sorted(samples):
        batch_size = _batch_size(bucket, rules)
        height, width = bucket.size
        rows[str(bucket)] = {
            "samples": samples[bucket],
            "batches": samples[bucket] // batch_size,
            "batch_size": batch_size,
            "num_frames": bucket.num_frames,
            "height": height,
            "width": width,
            "tokens_per_sample": _tokens(bucket, token_size),
        }
    return rows


def _batch_size(bucket: Bucket, rules: list[BucketRule]) -> int:
    key = (bucket.resolution, bucket.num_frames)
    return next(
        rule.batch_size
        for rule in rules
        if (rule.resolution, rule.num_frames) == key and rule.batch_size
    )


def _tokens(bucket: Bucket, token_size: tuple[int, int, int]) -> int:
    pixels = np.array([bucket.num_frames, *bucket.size])
    return int(np.ceil(pixels / np.array(token_size)).prod())


def _warnings(
    cells: Mapping[Bucket, int],
    targets: Mapping[Bucket, Bucket | None],
    rules: list[BucketRule],
    buckets: Mapping[str, Mapping[str, Any]],
    plan: pd.DataFrame,
) -> list[str]:
    sentences = []
    for cell, target in sorted(targets.items()):
        if target is None:
            sentences.append(
                f"{cell}: {cells[cell]} clips dropped: fewer than batch_size"
                f" {_batch_size(cell, rules)} and no neighbour to join; lower batch_size"
            )
        elif target != cell:
            sentences.append(f"{cell}: {cells[cell]} clips moved to {target} to fill a batch")
    empty = [
        f"({rule.resolution!r}, {rule.num_frames})"
        for rule in rules
        if rule.keep_prob * rule.frames_prob > 0
        and not any(name.startswith(f"{rule.resolution}|{rule.num_frames}|") for name in buckets)
    ]
    if empty:
        sentences.append(f"no clip is trained in {', '.join(empty)}")
    world_size = plan.attrs["world_size"]
    epochs = range(plan.attrs["epochs"])
    fewest = int(plan["epoch"].value_counts().reindex(epochs, fill_value=0).min())
    if fewest < world_size:
        sentences.append(
            f"an epoch has {fewest} micro batches for {world_size} ranks: one step spans epochs"
        )
    return sentences
