"""The plan of the held-out clips: one pass in an order that no setting of the run changes.

Latents of its clips are encoded beside those of training, so that a loss on clips that no step
has seen costs no autoencoder.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from opensora.buckets.bucket import assign_buckets
from opensora.buckets.bucket_config import BucketRule, parse_bucket_config
from opensora.buckets.crop import check_max_crop
from opensora.plans.compile import plan_of_batches
from opensora.plans.micro_batches import form_batches
from opensora.plans.stage_plan import bucket_config_of, frame_interval_of
from opensora.tables.columns import ID

VALIDATION = "validation"  # a split
MAX_CLIPS = 512  # of a bucket: the mean of their losses is known to 1/23 of the deviation of one
_SEED = 0  # not the run's: runs of other seeds are compared on the same clips


def plan_validation(manifest: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """Compile one pass over the validation split, bucket after bucket.

    A bucket's clips come in an order that follows from their ids; what does not fill a batch is a
    smaller one. Without such clips the plan is empty.

    Args:
        manifest: clips; only rows whose `split` is "validation" are used.
        config: bucket_config or a fixed size, frame_interval, max_crop.

    Returns:
        A plan as `compile_plan` makes it, of at most MAX_CLIPS clips a bucket.

    Raises:
        ConfigError: no bucket_config and no fixed size.
    """
    clips = manifest[[ID, "num_frames", "height", "width"]]
    clips = clips[(manifest["split"] == VALIDATION).to_numpy()].reset_index(drop=True)
    buckets = bucket_config_of(config)
    interval = frame_interval_of(config)
    most = check_max_crop(config.get("max_crop"))
    assignment = assign_buckets(clips, buckets, seed=_SEED, frame_interval=interval, max_crop=most)
    rules = [_limited(rule) for rule in parse_bucket_config(buckets)]
    batches = form_batches(assignment, rules, seed=_SEED, epoch=0, drop_last=False)
    starts = np.flatnonzero(np.diff(batches.cell, prepend=-1))  # first batch of each bucket
    before = np.concatenate(([0], batches.sizes.cumsum()))  # clips before each batch
    first = np.repeat(before[starts], np.diff([*starts, len(batches)]))
    return plan_of_batches(batches, np.flatnonzero(before[1:] - first <= MAX_CLIPS))


def _limited(rule: BucketRule) -> BucketRule:
    """The rule with batches that fit below the limit."""
    return replace(rule, batch_size=rule.batch_size and min(rule.batch_size, MAX_CLIPS))
