"""The balance of every stage of the curation, as funnel.json has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Loss:
    """Rows and seconds of footage that one stage marked with one reason."""

    reason: str
    rows: int
    seconds: float


@dataclass(frozen=True)
class FunnelStage:
    """One stage of the curation.

    Attributes:
        name: stage, snake_case.
        rows_in: rows the stage was given.
        seconds_in: their footage.
        rows_kept: rows that go on.
        seconds_kept: their footage.
        losses: what was marked, largest first.
    """

    name: str
    rows_in: int
    seconds_in: float
    rows_kept: int
    seconds_kept: float
    losses: tuple[Loss, ...]


def parse_funnel_stage(entry: dict[str, Any]) -> FunnelStage:
    """Turn one entry of funnel.json into a stage of the drawing."""
    losses = [
        Loss(reason, int(lost["rows"]), float(lost.get("seconds") or 0.0))
        for reason, lost in entry.get("reasons", {}).items()
    ]
    losses.sort(key=lambda loss: (-loss.seconds, -loss.rows, loss.reason))
    return FunnelStage(
        name=entry["stage"],
        rows_in=int(entry["rows_in"]),
        seconds_in=float(entry["seconds_in"]),
        rows_kept=int(entry["rows_kept"]),
        seconds_kept=float(entry["seconds_kept"]),
        losses=tuple(losses),
    )
