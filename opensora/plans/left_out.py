"""Why clips of the training split are in no batch of a plan, however many epochs it has."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from opensora.buckets.assignment import TOO_MUCH_CROP
from opensora.buckets.bucket_config import BucketRule
from opensora.plans.entries import entries_of
from opensora.plans.micro_batches import cell_codes, trained_cells
from opensora.plans.summary import BEYOND_SHARE, REMAINDER, TOO_FEW_FOR_A_BATCH
from opensora.tables.columns import ID


def left_out(
    assignments: Sequence[pd.DataFrame],
    plan: pd.DataFrame,
    rules: Sequence[BucketRule],
    *,
    drop_last: bool,
    is_mixed: bool = False,
) -> pd.DataFrame:
    """Say why each clip is missing that no epoch of a plan has.

    A clip that had a bucket in any epoch was beyond the last full batch (`remainder`), or its cell
    and the neighbours could not fill one (`too_few_for_a_batch`); of the others the first epoch's
    reason counts, but
    `too_much_crop` of any epoch before an unlucky draw.

    Args:
        assignments: the tables that the plan was compiled from.
        plan: as `compile_plan` returned it.
        rules: the parsed bucket config.
        drop_last: as the plan was compiled.
        is_mixed: sources do not count alike: who had a batch was beyond the share of its source
            (`beyond_source_share`).

    Returns:
        Columns id and reason, in the order of the clips.
    """
    first = assignments[0]
    missing = np.ones(len(first), dtype=bool)
    missing[_planned(plan, first)] = False
    had_bucket = np.zeros(len(first), dtype=bool)
    had_batch = np.zeros(len(first), dtype=bool)
    was_cut = np.zeros(len(first), dtype=bool)
    for epoch in range(min(len(assignments), plan.attrs["compiled_epochs"])):
        if had_batch[missing].all():
            break
        codes, cells = cell_codes(assignments[epoch])
        counts = np.bincount(codes[codes >= 0], minlength=len(cells)).tolist()
        targets = trained_cells(dict(zip(cells, counts, strict=True)), rules, drop_last=drop_last)
        is_trained = np.array([targets[cell] is not None for cell in cells] + [False])
        had_bucket |= codes >= 0
        was_cut |= (assignments[epoch]["reason"] == TOO_MUCH_CROP).to_numpy()
        had_batch |= is_trained[codes]  # the last entry serves clips without a cell
    reason = first["reason"].astype(str).to_numpy(dtype=object)
    reason[was_cut] = TOO_MUCH_CROP
    reason[had_bucket] = TOO_FEW_FOR_A_BATCH
    reason[had_batch] = BEYOND_SHARE if is_mixed else REMAINDER
    return pd.DataFrame({ID: first[ID].to_numpy()[missing], "reason": reason[missing]})


def _planned(plan: pd.DataFrame, clips: pd.DataFrame) -> np.ndarray:
    """Places of the clips that a plan compiled from this very table has."""
    entries = entries_of(pa.array(plan["ids"]))
    if len(entries.ids) != len(clips):
        raise ValueError("the plan was compiled from another table of clips")
    return entries.clips
