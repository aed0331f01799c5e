"""Columns that are easily wrong in tables of others: rates, seconds and sides of the split."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from opensora.tables.columns import STATUS, TEXTS, Table, type_of
from opensora.tables.reasons import unknown_word

TRAIN, VALIDATION, TEST = "train", "validation", "test"
# how tables of others spell the sides, without regard to case; an empty cell is for training
SIDES = {
    **dict.fromkeys(("", TRAIN, "training"), TRAIN),
    **dict.fromkeys((VALIDATION, "val", "valid", "dev"), VALIDATION),
    TEST: TEST,
}
EXPECTED = {
    "fps": "a number above 0, such as 24 or 30000/1001",
    "start": "seconds of at least 0",
    "end": "seconds of at least start",
    "split": f"{TRAIN}, {VALIDATION} or {TEST}",
}
_FRACTION = re.compile(r"\s*([0-9.]+)\s*/\s*([0-9.]+)\s*")  # as ffprobe writes a rate


def check_columns(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    """Give the columns of EXPECTED that are there the types of the schema.

    Args:
        frame: may have `num_frames`; an image has no rate, which may be written as 0 or 0/0.

    Returns:
        The frame: floats, NaN where a cell is empty or wrong, and sides in our spelling. And of
        each column that was checked a bool a row: its cell is there and is wrong.
    """
    wrong: dict[str, pd.Series] = {}
    made: dict[str, pd.Series] = {}
    if "fps" in frame:
        empty, rates = _numbers(frame["fps"], _rate)
        wrong["fps"] = ~empty & ~((rates > 0) & np.isfinite(rates))
        if "num_frames" in frame:
            still = pd.to_numeric(frame["num_frames"], errors="coerce") == 1
            wrong["fps"] &= ~(still & ((rates == 0) | frame["fps"].isin(["0/0"])))
        made["fps"] = rates.where((rates > 0) & np.isfinite(rates))
    for name in ("start", "end"):
        if name in frame:
            empty, seconds = _numbers(frame[name], float)
            good = (seconds >= 0) & np.isfinite(seconds)
            if name == "end" and "start" in made:
                good &= ~(seconds < made["start"])
            wrong[name], made[name] = ~empty & ~good, seconds.where(good)
    if "split" in frame:
        cells = frame["split"].fillna("").astype(str)
        known = {cell: SIDES.get(cell.strip().lower()) for cell in cells.unique()}
        sides = cells.map(known)
        wrong["split"], made["split"] = sides.isna(), sides.where(sides.notna(), cells)
    return frame.assign(**made), wrong


def complaint(frame: pd.DataFrame, table: Table) -> str:
    """What is wrong with cells of one of our tables, or "": a reason or a number that is none."""
    if fault := complaint_of_reasons(frame, table):
        return fault
    for name in (*table.columns, *(name for name in table.optional if name in frame)):
        values = frame[name]
        if type_of(name) == TEXTS or pd.api.types.is_numeric_dtype(values):
            continue
        bad = values.notna() & pd.to_numeric(values, errors="coerce").isna()
        if bad.any():
            row = int(bad.to_numpy().argmax())
            return f"row {row + 1}: {name} is {str(values.iloc[row])[:40]!r}; expected a number"
    return ""


def complaint_of_reasons(frame: pd.DataFrame, table: Table) -> str:
    """What is wrong with the words of `status` or `reason` in one of our tables, or ""."""
    for name in (STATUS, "reason"):
        found = unknown_word(name, frame[name].unique(), table) if name in table.columns else None
        if found:
            row = int((frame[name].astype(str) == found[0]).to_numpy().argmax())
            return f"row {row + 1}: {name} is {found[1]}"
    return ""


def _numbers(values: pd.Series, parse: Callable[[Any], float]) -> tuple[pd.Series, pd.Series]:
    """Which cells are empty, and what number each holds; NaN where it holds none."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return values.isna(), values.astype(float)
    empty = values.isna() | values.astype(str).str.strip().eq("")
    numbers = [
        float("nan") if gap else _parsed(cell, parse)
        for cell, gap in zip(values.tolist(), empty.tolist(), strict=True)
    ]
    return empty, pd.Series(numbers, index=values.index, dtype=float)


def _parsed(cell: Any, parse: Callable[[Any], float]) -> float:
    if isinstance(cell, bool):
        return float("nan")
    try:
        return parse(cell)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return float("nan")


def _rate(cell: Any) -> float:
    """A number, or a fraction as ffprobe writes it."""
    parts = _FRACTION.fullmatch(cell) if isinstance(cell, str) else None
    return float(parts[1]) / float(parts[2]) if parts else float(cell)
