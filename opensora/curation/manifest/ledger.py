"""The footage ledger: rows and seconds that went into each stage, stayed, and why they left."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from opensora.core.errors import TableError
from opensora.tables.columns import OK, REJECTED, Table


class Ledger:
    """Collects the rejected rows and the balance of every stage.

    Attributes:
        stages: one entry per stage for `funnel.json`.
        rejected: rows of the REJECTED table.
        captions: `captions` for `funnel.json`, where clips may have several; else {}.
    """

    def __init__(self) -> None:
        self.stages: list[dict[str, Any]] = []
        self.rejected: list[dict[str, Any]] = []
        self.captions: dict[str, Any] = {}

    def close(self, stage: str, rows: pd.DataFrame) -> pd.DataFrame:
        """Book one stage.

        Args:
            stage: name of the rule.
            rows: everything that came in: `id, path, seconds, status, detail`.

        Returns:
            The rows that stay (status ok).
        """
        stays = rows["status"] == OK
        kept, lost = rows[stays], rows[~stays]
        reasons = {
            str(reason): {"rows": len(part), "seconds": _total(part)}
            for reason, part in lost.groupby("status")
        }
        for row in lost.to_dict("records"):
            self.rejected.append(
                {
                    **{"id": row["id"], "path": row["path"], "stage": stage},
                    **{"reason": row["status"], "detail": row["detail"]},
                }
            )
        entry = {
            "stage": stage,
            "rows_in": len(rows),
            "seconds_in": _total(rows),
            "rows_kept": len(kept),
            "seconds_kept": _total(kept),
            "reasons": reasons,
        }
        check_ledger(entry)
        self.stages.append(entry)
        return kept

    def add(self, rejected: pd.DataFrame) -> None:
        """Take over rows of a REJECTED table."""
        for row in rejected.to_dict("records"):
            self.rejected.append({name: row[name] for name in REJECTED.columns})

    def join(self, stage: str, cut: pd.DataFrame, entries: Sequence[dict[str, Any]]) -> None:
        """Book the stage at which ready clips come to those that were cut.

        Args:
            stage: name of the rule.
            cut: clips that came so far, with `seconds`; all of them go on.
            entries: what each import says of its rows; their rejected rows are booked already.
        """
        reasons: dict[str, dict[str, Any]] = {}
        for entry in entries:
            for name, lost in entry["reasons"].items():
                sums = reasons.setdefault(name, {"rows": 0, "seconds": 0.0})
                sums["rows"] += lost["rows"]
                sums["seconds"] = round(sums["seconds"] + lost["seconds"], 6)
        own, seconds = len(cut), _total(cut)
        joined = {
            "stage": stage,
            "rows_in": own + sum(entry["rows_in"] for entry in entries),
            "seconds_in": round(seconds + sum(entry["seconds_in"] for entry in entries), 6),
            "rows_kept": own + sum(entry["rows_kept"] for entry in entries),
            "seconds_kept": round(seconds + sum(entry["seconds_kept"] for entry in entries), 6),
            "reasons": dict(sorted(reasons.items())),
        }
        check_ledger(joined)
        self.stages.append(joined)

    def book_captions(self, captions: pd.DataFrame) -> None:
        """Count all captions of the clips that come to their stage.

        A clip stays with its good ones, so the others are no rejected rows.

        Args:
            captions: rows of a CAPTIONS table.
        """
        is_good = captions["status"] == OK
        reasons = captions.loc[~is_good, "status"].value_counts().sort_index()
        self.captions = {
            "captions": {
                **{"rows_in": len(captions), "rows_kept": int(is_good.sum())},
                "reasons": {str(reason): int(count) for reason, count in reasons.items()},
            }
        }

    def top_reasons(self, count: int = 3) -> str:
        """The most frequent reasons so far, for a sentence."""
        totals: dict[str, int] = {}
        for row in self.rejected:
            totals[row["reason"]] = totals.get(row["reason"], 0) + 1
        first = sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:count]
        return ", ".join(f"{reason} ({number})" for reason, number in first) or "no rows at all"


def check_ledger(entry: dict[str, Any]) -> None:
    """Refuse a stage whose rows in are not its rows kept and rejected.

    Raises:
        TableError: the numbers do not add up.
    """
    lost = sum(reason["rows"] for reason in entry["reasons"].values())
    if entry["rows_in"] != entry["rows_kept"] + lost:
        raise TableError(
            f"{entry['stage']}: {entry['rows_in']} rows came in, but {entry['rows_kept']} were kept"
            f" and {lost} rejected; run the rule again for all shards"
        )


def check_unique(rows: pd.DataFrame, table: Table) -> None:
    """Refuse a table in which an id stands twice.

    Raises:
        TableError: names the id.
    """
    twice = rows["id"][rows["id"].duplicated()]
    if len(twice):
        raise TableError(
            f"{table.name}: the id {twice.iloc[0]!r} stands in {len(twice) + 1} rows; was a shard"
            " given twice?"
        )


def check_parents(
    children: Iterable[str], parents: Iterable[str], child: Table, parent: Table
) -> None:
    """Refuse a stage that lost a row of the stage before it, or has one from nowhere.

    Args:
        children: for each row of `child`, the id in `parent` that it came from.
        parents: all ids of `parent`.
        child: the later table.
        parent: the earlier table.

    Raises:
        TableError: names the first such id and the rule to run again.
    """
    came, went = set(children), set(parents)
    if lost := sorted(went - came):
        raise TableError(
            f"{child.name}: {len(lost)} of {len(went)} rows of {parent.name} are missing (first:"
            f" {lost[0]}); give all shards, or run {child.rule} again"
        )
    if strange := sorted(came - went):
        raise TableError(
            f"{child.name}: {len(strange)} rows belong to no row of {parent.name} (first:"
            f" {strange[0]}); they are older than {parent.name}: run {child.rule} again"
        )


def _total(rows: pd.DataFrame) -> float:
    return round(float(rows["seconds"].sum()), 6)
