"""Filters: bounds on columns, written as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from opensora.core.errors import ConfigError, did_you_mean
from opensora.core.text import visible
from opensora.tables.columns import OK

# what a still image does not have: bounds on these columns speak of videos only
VIDEO_ONLY = frozenset({"num_frames", "fps", "flow", "frozen_ratio"})
_LARGEST = 2**63 - 1  # of whole numbers, as columns have them


@dataclass(frozen=True)
class Bound:
    """Keep rows with `low` <= column <= `high`; None is no bound."""

    column: str
    low: float | None
    high: float | None

    def broken(self, values: pd.Series) -> list[tuple[str, str, pd.Series]]:
        """The ways to break the bound: reason, sentence (`{}` is the value), mask of the rows."""
        name = self.column.replace("{", "{{").replace("}", "}}")
        ways = [(f"{self.column}_missing", f"{name} has no value", values.isna())]
        if self.low is not None:
            sentence = f"{name} {{:g}} is below the minimum {self.low:g}"
            ways.append((f"{self.column}_too_low", sentence, values < self.low))
        if self.high is not None:
            sentence = f"{name} {{:g}} is above the maximum {self.high:g}"
            ways.append((f"{self.column}_too_high", sentence, values > self.high))
        return ways


def parse_filters(filters: Mapping[str, Any]) -> list[Bound]:
    """Check `{column: {"min": number, "max": number}}`.

    Raises:
        ConfigError: something else than min and max, or no number.
    """
    bounds = []
    for column, limits in filters.items():
        place = f"filters: {visible(column[:80])}"
        if not isinstance(limits, Mapping) or not limits or not set(limits) <= {"min", "max"}:
            raise ConfigError(
                f'{place}: expected {{"min": number, "max": number}} or one of the two, got'
                f" {repr(limits)[:200]}"
            )
        for name, value in limits.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                found = repr(value)[:200]
                raise ConfigError(f"{place}.{name}: expected a number, got {found}")
            if isinstance(value, int) and abs(value) > _LARGEST:
                raise ConfigError(f"{place}.{name}: is beyond 64 bits; write it as 1e20")
            if not np.isfinite(float(value)):
                raise ConfigError(
                    f"{place}.{name} is {value}; expected a finite number or no bound"
                )
        low, high = limits.get("min"), limits.get("max")
        if low is not None and high is not None and low > high:
            raise ConfigError(f"{place}: min {low:g} is above max {high:g}")
        bounds.append(Bound(column, low, high))
    return bounds


def check_columns(bounds: list[Bound], table: pd.DataFrame) -> None:
    """Refuse bounds on columns that the table lacks or that hold no numbers.

    Raises:
        ConfigError: names the nearest column.
    """
    numeric = [name for name in table.columns if pd.api.types.is_numeric_dtype(table[name])]
    for bound in bounds:
        if bound.column not in numeric:
            hint = did_you_mean(bound.column, numeric)
            raise ConfigError(
                f"filters: there is no number column {bound.column!r}{hint or ';'} known: "
                + ", ".join(sorted(numeric))
            )


def apply_filters(table: pd.DataFrame, bounds: list[Bound]) -> pd.DataFrame:
    """Mark the rows that break a bound.

    Args:
        table: clips with `kind, status, detail` and the columns of the bounds.
        bounds: checked by :func:`check_columns`.

    Returns:
        The table with new `status` (the first bound a row breaks) and `detail` (all of them); rows
        that are marked keep their mark.
    """
    status = table["status"].to_numpy(dtype=object, copy=True)
    details: dict[int, list[str]] = {}
    is_image, is_good = table["kind"] == "image", table["status"] == OK
    for bound in bounds:
        values = table[bound.column]
        for reason, sentence, mask in bound.broken(values):
            counts = mask & is_good & ~(is_image & (bound.column in VIDEO_ONLY))
            for position in map(int, np.flatnonzero(counts)):
                if position not in details:
                    status[position] = reason
                sentences = details.setdefault(position, [])
                sentences.append(sentence.format(values.iloc[position]))
    detail = table["detail"].to_numpy(dtype=object, copy=True)
    for position, sentences in details.items():
        detail[position] = "; ".join(sentences)
    return table.assign(status=status, detail=detail)
