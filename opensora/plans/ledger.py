"""The footage ledger behind the manifest: how often each clip is seen, or why it never is."""

import math
from typing import Any

import numpy as np
import pandas as pd

from opensora.core.errors import TableError
from opensora.plans.compile import BatchPlan, step_entries
from opensora.plans.summary import BEYOND_SHARE, REMAINDER, TOO_FEW_FOR_A_BATCH
from opensora.tables.checks import TRAIN
from opensora.tables.columns import ID, SOURCE_NAME

BEYOND_NUM_STEPS = "beyond_num_steps"
# why a clip with a bucket may be in no step
LEFT_OVER = (TOO_FEW_FOR_A_BATCH, REMAINDER, BEYOND_SHARE, BEYOND_NUM_STEPS)
NO_BUCKET, OVER, REJECTED = "no_bucket", "left_over", "rejected"


def stage_ledger(
    manifest: pd.DataFrame,
    left_out: pd.DataFrame,
    plan: BatchPlan,
    settled: BatchPlan,
    rejected: pd.DataFrame,
) -> dict[str, Any]:
    """Account for every clip and second of a manifest in one stage of training.

    Args:
        manifest: id, split, start, end, and maybe source_name.
        left_out: id and reason of the training clips that the plan does not have.
        plan: as it was compiled.
        settled: without the rejected pairs.
        rejected: id and reason of those pairs.

    Returns:
        `splits`: clips and seconds of each; `in_a_bucket`: of the training split; `seen`: times,
        clips and seconds; `never`: clips and seconds by kind (no_bucket, left_over, rejected) and
        reason; `rejected`: by reason, those seen in another bucket included; `sources`, where the
        manifest names them: clips and seconds for training, and samples: how often all are seen.

    Raises:
        TableError: manifest, left_out and plan do not belong together.
    """
    seconds = _seconds(manifest)
    rows = pd.DataFrame({"seconds": seconds}, index=manifest[ID].to_numpy())
    splits = {
        str(name): _sums(rows[(manifest["split"] == name).to_numpy()])
        for name in sorted(manifest["split"].unique())
    }
    train = rows[(manifest["split"] == TRAIN).to_numpy()]
    times = _times(settled, _used(settled)).reindex(train.index, fill_value=0).to_numpy()
    reason = _reasons(train, left_out, plan, settled, rejected)
    never = train.join(reason)[times == 0]  # assigned to no rows, a column would bring its own
    seen = train.assign(times=times)[times > 0]
    no_bucket = reason["kind"] == NO_BUCKET
    return {
        "total": _sums(rows),
        "splits": splits,
        "in_a_bucket": _sums(train[~no_bucket.reindex(train.index, fill_value=False).to_numpy()]),
        "seen": [
            {"times": int(str(number)), **_sums(part)} for number, part in seen.groupby("times")
        ],
        "never": {
            kind: _by_reason(never[(never["kind"] == kind).to_numpy()])
            for kind in (NO_BUCKET, OVER, REJECTED)
        },
        "rejected": _by_reason(
            rejected.drop_duplicates(ID).set_index(ID)[["reason"]].join(rows, how="inner")
        ),
        "max_times": int(times.max(initial=0)),
        **_by_source(manifest, train, times),
    }


def _by_source(manifest: pd.DataFrame, train: pd.DataFrame, times: np.ndarray) -> dict[str, Any]:
    if SOURCE_NAME not in manifest:
        return {}
    names = manifest.set_index(ID)[SOURCE_NAME].reindex(train.index)
    groups = train.assign(times=times).groupby(names.astype(str))
    sums = {
        str(name): {**_sums(rows), "samples": int(rows["times"].sum())} for name, rows in groups
    }
    return {"sources": sums}


def _reasons(
    train: pd.DataFrame,
    left_out: pd.DataFrame,
    plan: BatchPlan,
    settled: BatchPlan,
    rejected: pd.DataFrame,
) -> pd.DataFrame:
    """Kind and reason of each training clip, in case no step sees it; indexed by id."""
    found = pd.DataFrame(index=train.index, columns=["kind", "reason"], dtype=object)
    planned = plan.entries.ids.to_pandas()
    _require_same(train, left_out, planned)
    found.loc[planned.to_numpy()] = [OVER, REMAINDER]
    found.loc[settled.entries.ids.to_pandas().to_numpy()] = [OVER, BEYOND_NUM_STEPS]
    lost = rejected.drop_duplicates(ID)
    lost = lost[~lost[ID].isin(settled.entries.ids.to_pandas()).to_numpy()]
    found.loc[lost[ID].to_numpy(), "kind"] = REJECTED
    found.loc[lost[ID].to_numpy(), "reason"] = lost["reason"].to_numpy()
    found.loc[left_out[ID].to_numpy(), "reason"] = left_out["reason"].to_numpy()
    kinds = np.where(left_out["reason"].isin(LEFT_OVER), OVER, NO_BUCKET)
    found.loc[left_out[ID].to_numpy(), "kind"] = kinds
    return found


def _require_same(train: pd.DataFrame, left_out: pd.DataFrame, planned: pd.Series) -> None:
    """Every training clip is in the plan or left out of it."""
    known = pd.concat([planned.astype(str), left_out[ID].astype(str)])
    strange = known[~known.isin(train.index).to_numpy()]
    missing = train.index[~train.index.isin(known)]
    if len(strange) or len(missing):
        clip = strange.iloc[0] if len(strange) else missing[0]
        raise TableError(
            f"manifest: clip {clip!r} is {'not' if len(strange) else 'only'} in the manifest, and"
            f" {'is' if len(strange) else 'not'} in the plan or what it leaves out; run"
            " assign_buckets again"
        )


def _used(plan: BatchPlan) -> int:
    """Entries that steps will use."""
    num_steps = plan.metadata.get("num_steps")
    return min(len(plan), num_steps * step_entries(plan.metadata)) if num_steps else len(plan)


def _times(plan: BatchPlan, used: int) -> pd.Series:
    """How often each clip is in the first `used` entries, by id."""
    clips = plan.entries.clips[: plan.entries.offsets[used]]
    counts = np.bincount(clips, minlength=len(plan.entries.ids))
    return pd.Series(counts, index=plan.entries.ids.to_pandas().astype(str).to_numpy())


def _seconds(manifest: pd.DataFrame) -> np.ndarray:
    """Footage of each clip; of an image none."""
    start, end = (pd.to_numeric(manifest[name], errors="coerce") for name in ("start", "end"))
    return (end - start).fillna(0.0).clip(lower=0.0).to_numpy()


def _by_reason(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {str(reason): _sums(part) for reason, part in rows.groupby("reason")}


def _sums(rows: pd.DataFrame) -> dict[str, Any]:
    return {"clips": len(rows), "seconds": round(math.fsum(rows["seconds"]), 6)}
