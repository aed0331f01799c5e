"""The share of an epoch that each source of a run will have, before a plan is compiled."""

from collections.abc import Mapping

import numpy as np

from opensora.config.sources import MAX_SHARE, REPEAT, WEIGHT, Rates
from opensora.core.terminal import align
from opensora.plans.mix import shares_of


def shares_of_sources(
    counts: Mapping[str, int | None], rates: Rates
) -> dict[str, tuple[float | None, float | None]]:
    """Share of an epoch, and views of each clip in it, by source.

    Args:
        counts: of clips, or files; None where it is not known, and then so are the views, and
            the shares unless weights say them.
        rates: of each source; empty where all clips count alike.
    """
    given = [rates.get(name, {}) for name in counts]
    is_known = None not in counts.values()
    if not is_known and not any(WEIGHT in one for one in given):
        return dict.fromkeys(counts, (None, None))
    clips = np.array([1 if count is None else count for count in counts.values()])
    parts = shares_of(clips, given)
    total = float(parts.sum())
    return {
        name: (
            float(part) / total if total else None,
            float(part) / int(number) if is_known and number else None,
        )
        for name, part, number in zip(counts, parts, clips, strict=True)
    }


def shares_table(counts: Mapping[str, int | None], rates: Rates, unit: str) -> str:
    """The shares as lines of aligned columns.

    Args:
        counts: see `shares_of_sources`.
        rates: of each source.
        unit: what is counted.
    """
    found = shares_of_sources(counts, rates)
    header = ["source", unit, WEIGHT, REPEAT, MAX_SHARE, "share of an epoch", "views of a clip"]
    rows = []
    for name, (share, views) in found.items():
        own = rates.get(name, {})
        told = [f"{own[field]:g}" if field in own else "" for field in (WEIGHT, REPEAT, MAX_SHARE)]
        count = counts[name]
        rows.append(
            [
                *(name, "unknown" if count is None else f"{count:,}", *told),
                "unknown" if share is None else f"{100 * share:.2f} %",
                "unknown" if views is None else f"{views:.3g}",
            ]
        )
    return align(header, rows)
