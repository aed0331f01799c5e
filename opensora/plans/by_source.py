"""What a plan has of each source of a run."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from opensora.config.sources import Rates
from opensora.plans.entries import entries_of
from opensora.tables.columns import ID, SOURCE_NAME


def sources_of(manifest: pd.DataFrame, clips: pd.DataFrame) -> np.ndarray | None:
    """The source of each clip, object [N]; None where the manifest names none.

    Args:
        manifest: all clips.
        clips: some of them, by `id`.
    """
    if SOURCE_NAME not in manifest:
        return None
    names = manifest.set_index(ID)[SOURCE_NAME].fillna("").astype(str)
    found: np.ndarray = names.reindex(clips[ID]).to_numpy(dtype=object)
    return found


def describe_sources(sources: np.ndarray, plan: pd.DataFrame, rates: Rates) -> dict[str, Any]:
    """Count the samples of each source.

    Args:
        sources: [N], of each training clip, in the order in which the plan was compiled.
        plan: what `compile_plan` returned.
        rates: what each source was given; empty where all clips count alike.

    Returns:
        By source: clips, the samples of the first epoch and of all, the share of all, the samples
        of the first epoch by resolution and length, and its rates.
    """
    entries = entries_of(pa.array(plan["ids"]))
    names, codes = np.unique(sources.astype(str), return_inverse=True)
    names_of = [*names, *(name for name in rates if name not in names)]
    of_sample, entry = codes[entries.clips], entries.entry
    is_first = (plan["epoch"] == 0).to_numpy()[entry]
    lengths = plan["bucket"].str.rpartition("|")[0].to_numpy(dtype=object)[entry]
    total = max(len(of_sample), 1)
    found: dict[str, Any] = {}
    for number, name in enumerate(names_of):
        mine = of_sample == number
        first = pd.Series(lengths[mine & is_first], dtype=object).value_counts().sort_index()
        found[str(name)] = {
            "clips": int((codes == number).sum()),
            "first_epoch": int((mine & is_first).sum()),
            "samples": int(mine.sum()),
            "share": round(int(mine.sum()) / total, 6),
            "buckets": {str(length): int(count) for length, count in first.items()},
            **rates.get(str(name), {}),
        }
    return found


def first_epoch_samples(plan: pd.DataFrame) -> tuple[dict[str, int], dict[str, int], int]:
    """Samples and batches of each bucket in the first epoch, and how many clips they are."""
    entries = entries_of(pa.array(plan["ids"]))
    first = (plan["epoch"] == 0).to_numpy()
    sizes = pd.Series(np.diff(entries.offsets)[first]).groupby(plan["bucket"][first].to_numpy())
    clips = np.unique(entries.clips[first[entries.entry]])
    samples = {str(name): int(count) for name, count in sizes.sum().items()}
    batches = {str(name): int(count) for name, count in sizes.size().items()}
    return samples, batches, len(clips)
