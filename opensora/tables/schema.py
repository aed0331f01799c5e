"""From a frame to Arrow by a fixed schema: what is missing is null, and never NaN."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from opensora.core.errors import TableError
from opensora.tables.columns import MEASURE, STRINGS, TEXTS, WHOLE, YES_NO, More, Table, type_of

MARK = b"opensora.table"  # key of the metadata that says which table a file holds


def schema_of(frame: pd.DataFrame, table: Table | None) -> pa.Schema:
    """The schema of a table, whatever rows it has.

    Args:
        frame: the whole table, of which partitions may be written one by one.
        table: gives its columns their types; columns that follow, or all where it is None, are
            texts (columns.STRINGS), measures, or what the whole column is (see `More`).
    """
    own = () if table is None else (*table.columns, *table.optional)
    more = More.ANYTHING if table is None else table.more
    types = {
        name: type_of(name) if name in own or name in STRINGS else _type_of_more(frame[name], more)
        for name in map(str, frame.columns)
    }
    fields = [pa.field(name, pa.type_for_alias(kind)) for name, kind in types.items()]
    return pa.schema(fields, metadata={MARK: table.name} if table else None)


def _type_of_more(values: pd.Series, more: More) -> str:
    if more is not More.ANYTHING:
        return MEASURE
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind == "integer" or kind == "boolean":
        return WHOLE if kind == "integer" else YES_NO
    return MEASURE if kind in ("floating", "mixed-integer-float", "empty") else TEXTS


def to_arrow(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """Convert a frame; equal rows give equal tables.

    Raises:
        TableError: a cell is not what its column holds; the sentence names row and column.
    """
    arrays = [_column(frame[field.name], field) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _column(values: pd.Series, field: pa.Field) -> pa.Array:
    if pa.types.is_string(field.type):
        empty = "" if field.name in STRINGS else None
        pairs = zip(values.tolist(), values.isna().tolist(), strict=True)
        return pa.array([empty if gap else str(cell) for cell, gap in pairs], field.type)
    if values.dtype in (np.int64, np.float64) and not pa.types.is_boolean(field.type):
        with contextlib.suppress(pa.ArrowInvalid):  # of a fraction; the slow way names its row
            return pa.array(values.to_numpy(), field.type, from_pandas=True)
    convert, expected = _CONVERTERS[field.type]
    cells = []
    for row, cell in enumerate(values.array):
        try:
            cells.append(None if _is_missing(cell) else convert(cell))
        except (TypeError, ValueError, OverflowError) as error:
            raise TableError(
                f"row {row + 1}: {field.name} is {str(cell)!r}; expected {expected}"
            ) from error
    return pa.array(cells, field.type)


def _is_missing(cell: Any) -> bool:
    return cell is None or cell is pd.NA or cell == "" or cell != cell


def _measure(cell: Any) -> float:
    # 0.7 of 32 bits is 0.699999988 of 64 and would fail `>= 0.7`: its short text is what is meant
    return float(str(cell)) if isinstance(cell, np.floating) else float(cell)


def _whole(cell: Any) -> int:
    number = int(cell)
    if number != float(cell):
        raise ValueError
    return number


def _yes_no(cell: Any) -> bool:
    if cell not in (0, 1):
        raise ValueError
    return bool(cell)


_CONVERTERS: dict[pa.DataType, tuple[Callable[[Any], Any], str]] = {
    pa.float64(): (_measure, "a number"),
    pa.int64(): (_whole, "a whole number"),
    pa.bool_(): (_yes_no, "yes or no"),
}
