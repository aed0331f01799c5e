"""How long the ranks of a step wait for the slowest: random order against balanced order."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from opensora.buckets.bucket import Bucket, TokenGrid
from opensora.buckets.bucket_config import BucketConfig
from opensora.core.terminal import align
from opensora.plans.balance import COST, RANDOM
from opensora.plans.budget.cost import ModelCost
from opensora.plans.stage_plan import plan_training


def simulate_stragglers(
    clips: pd.DataFrame,
    bucket_config: BucketConfig,
    *,
    model: Mapping[str, Any],
    ranks: int,
    frame_interval: int,
) -> dict[str, dict[str, float]]:
    """Compile one epoch in both orders and compare the ranks of each step by the cost model.

    Args:
        clips: id, num_frames, height, width.
        bucket_config: where they go.
        model: type and keywords of the model whose operations are the cost.
        ranks: data-parallel processes.
        frame_interval: source frames per used frame.

    Returns:
        For "random" and "cost": steps; `slowest`, the mean over steps of (slowest rank / mean
        rank); `waiting`, the share of all ranks' time that is spent waiting.
    """
    cost, grid = ModelCost.of(model), TokenGrid()
    cost_of = cost.sample_cost(grid)
    config = {
        "bucket_config": bucket_config,
        "frame_interval": frame_interval,
        "model": {**model, "patch_size": grid.patch_size},
    }
    found = {}
    for balance in (RANDOM, COST):
        made = plan_training(
            clips, {**config, "balance": balance}, world_size=ranks, sample_cost=cost_of
        )
        names = made.plan["bucket"]
        costs = names.map({name: cost_of(Bucket.parse(name)) for name in names.unique()})
        sizes = pc.list_value_length(pa.array(made.plan["ids"])).to_numpy(zero_copy_only=False)
        by_step = (costs.to_numpy(float) * sizes).reshape(-1, ranks)  # [steps, ranks]
        slowest, mean = by_step.max(axis=1), by_step.mean(axis=1)
        found[balance] = {
            "steps": float(len(by_step)),
            "slowest": float((slowest / mean).mean()),
            "waiting": float(1 - mean.sum() / slowest.sum()),
        }
    return found


def balance_report(found: Mapping[str, Mapping[str, float]]) -> str:
    """Lay the figures out for a terminal."""
    rows = [
        (name, f"{row['steps']:,.0f}", f"{row['slowest']:.4f}", f"{100 * row['waiting']:.2f} %")
        for name, row in found.items()
    ]
    return align(["order", "steps", "slowest rank / mean rank", "time spent waiting"], rows) + "\n"
