"""Conditions over columns, such as `flow > 0.5 or kind == 'image'`, read without running code."""

import ast
import math
import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from opensora.core.errors import ConfigError, did_you_mean
from opensora.core.limits import EXPRESSION_CHARACTERS, EXPRESSION_DEPTH
from opensora.core.text import visible

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_INT = np.iinfo(np.int64)
_QUOTED = 200  # characters of a condition that an error repeats
_MAY_OVERFLOW = (ast.Add, ast.Sub, ast.Mult)


class Condition:
    """A condition on the columns of a table.

    Known are column names, numbers, quoted text, comparisons (also chained), `in (...)`, `not in`,
    `and`, `or`, `not`, `+ - * /` and parentheses; nothing else, so that a config holds no code.
    A comparison with an empty cell is false. Text is compared, never added or multiplied.

    Attributes:
        shown: as the user wrote it, cut to what an error repeats.
        columns: names that it reads, in order.
    """

    def __init__(self, text: str) -> None:
        """Parse.

        Raises:
            ConfigError: not an expression of the known kind, too long or nested too deeply.
        """
        self.shown = _cut(text, _QUOTED)
        if len(text) > EXPRESSION_CHARACTERS:
            raise self._refused(
                f"has {len(text):,} characters, at most {EXPRESSION_CHARACTERS:,} are read; make"
                " several conditions of it"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd spellings, whose meaning is checked below
                self._tree = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            fault = _cut(getattr(error, "msg", "") or "nested too deeply", _QUOTED)
            raise self._refused(
                f"not an expression ({fault}); expected for example: flow > 0.5 or kind == 'image'"
            ) from error
        if _depth(self._tree) > EXPRESSION_DEPTH:
            raise self._refused(
                f"is nested more than {EXPRESSION_DEPTH} deep; make several conditions of it"
            )
        names = [node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)]
        self.columns = tuple(dict.fromkeys(names))
        self._check(self._tree)

    def holds(self, table: pd.DataFrame) -> np.ndarray:
        """Where the condition is true: bool [N].

        Raises:
            ConfigError: a column that the table lacks, text compared with a number or used in
                arithmetic, a whole number beyond 64 bits.
        """
        for name in self.columns:
            if name not in table.columns:
                hint = did_you_mean(name, table.columns)
                raise self._refused(f"there is no column {_cut(name, _QUOTED)!r}{hint}")
        try:
            value = _evaluate(self._tree, table)
        except TypeError as error:
            fault = _cut(str(error), _QUOTED)
            raise self._refused(f"text and numbers do not compare ({fault})") from error
        except (ArithmeticError, ValueError) as error:
            fault = _cut(str(error), _QUOTED)
            raise self._refused(f"can not be computed ({fault}); change the numbers") from error
        return np.broadcast_to(np.asarray(value, dtype=bool), len(table))

    def _check(self, node: ast.AST) -> None:
        """Refuse what is not known, and truth of something that is no condition."""
        match node:
            case ast.BoolOp(values=parts):
                for part in parts:
                    self._check(part)
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                self._check(inner)
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [left, *others]
                for op, side in zip([None, *ops], sides, strict=True):
                    if isinstance(op, ast.In | ast.NotIn):
                        if side is not sides[-1]:  # the list would be compared in turn
                            raise self._unknown(side)
                        self._check_collection(side)
                    else:
                        self._check_value(side)
            case _:
                raise self._unknown(node)

    def _check_value(self, node: ast.AST) -> None:
        match node:
            case ast.Name():
                pass
            case ast.Constant(value=bool()):
                raise self._unknown(node)
            case ast.Constant(value=int() | float() as number):
                self._check_number(number)
            case ast.Constant(value=str()):
                pass
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                self._check_number_or_column(inner)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                self._check_number_or_column(left)
                self._check_number_or_column(right)
            case _:
                raise self._unknown(node)

    def _check_number_or_column(self, node: ast.AST) -> None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            raise self._refused(f"{_cut(repr(node.value), _QUOTED)} is text, which is no number")
        self._check_value(node)

    def _check_number(self, number: float) -> None:
        if isinstance(number, int) and not _INT.min <= number <= _INT.max:
            raise self._refused("holds a whole number beyond 64 bits; write it as 1e20")
        if not math.isfinite(number):
            raise self._refused("holds a number that is too large")

    def _check_collection(self, node: ast.AST) -> None:
        if not isinstance(node, ast.Tuple | ast.List):
            raise self._unknown(node)
        for item in node.elts:
            value = _constant(item)
            if value is None:
                raise self._unknown(node)
            if not isinstance(value, str):
                self._check_number(value)

    def _unknown(self, node: ast.AST) -> ConfigError:
        return self._refused(
            f"{_cut(ast.unparse(node), _QUOTED)!r} can not stand there; known are columns,"
            " numbers, quoted text, comparisons, in, and, or, not, + - * /"
        )

    def _refused(self, why: str) -> ConfigError:
        return ConfigError(f"keep_if {self.shown!r}: {why}")


def _cut(text: str, length: int) -> str:
    shown = visible(text[: length + 1])
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def _depth(tree: ast.AST) -> int:
    """Nested parts; counted without recursion, because a hostile tree is deeper than that goes."""
    level, depth = [tree], 0
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def _constant(node: ast.AST) -> Any:
    """A number or a text of a collection; None for anything else."""
    match node:
        case ast.Constant(value=int() | float() | str() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
    return None


def _evaluate(node: ast.AST, table: pd.DataFrame) -> Any:
    match node:
        case ast.BoolOp(op=op, values=parts):
            combine = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return combine.reduce(
                [np.broadcast_to(_evaluate(part, table), len(table)) for part in parts]
            )
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return np.logical_not(_evaluate(inner, table))
        case ast.UnaryOp() | ast.BinOp():
            return _number(node, table).values
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [left, *others]
            links = zip(sides[:-1], ops, sides[1:], strict=True)
            return np.logical_and.reduce(
                [np.broadcast_to(_compare(*link, table), len(table)) for link in links]
            )
        case ast.Name(id=name):
            return _column(table[name])
        case ast.Constant(value=value):
            return value
    raise AssertionError(ast.dump(node))  # the constructor checked the tree


def _compare(left: ast.AST, op: ast.cmpop, right: ast.AST, table: pd.DataFrame) -> Any:
    if isinstance(op, ast.In | ast.NotIn):
        assert isinstance(right, ast.Tuple | ast.List)
        allowed = [_constant(item) for item in right.elts]
        found = pd.Series(np.broadcast_to(_evaluate(left, table), len(table))).isin(allowed)
        return ~found.to_numpy() if isinstance(op, ast.NotIn) else found.to_numpy()
    first, second = _evaluate(left, table), _evaluate(right, table)
    there = pd.notna(first) & pd.notna(second)  # an empty cell is unequal to everything: not true
    return _COMPARE[type(op)](first, second) & there


def _column(values: pd.Series) -> np.ndarray:
    """Cells [N]: numbers as they are, with NaN for none; anything else as objects."""
    if not pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(dtype=object)
    cells = values.to_numpy()
    return cells if cells.dtype != object else values.to_numpy(dtype=float, na_value=np.nan)


@dataclass(frozen=True)
class _Number:
    """A number or a column [N] of them; of whole numbers their extremes, as far as they are known.

    Extremes are looked up in columns alone and calculated from there, which costs nothing.
    """

    values: Any
    extremes: tuple[int, int] | None


def _number(node: ast.AST, table: pd.DataFrame) -> _Number:
    """Compute the arithmetic below a node.

    Raises:
        TypeError: one part is text.
        OverflowError: whole numbers whose result has more than 64 bits; NumPy would wrap it.
    """
    match node:
        case ast.UnaryOp(operand=inner):
            number = _number(inner, table)
            if number.extremes is None:  # of floats, where 0 - 0.0 would lose the sign
                return _Number(-number.values, None)
            return _combined(ast.Sub(), _Number(0, (0, 0)), number)
        case ast.BinOp(left=left, op=op, right=right):
            return _combined(op, _number(left, table), _number(right, table))
    values = _evaluate(node, table)
    if not isinstance(values, np.ndarray):  # the constructor checked constants
        return _Number(values, (values, values) if isinstance(values, int) else None)
    if values.dtype == object:
        raise TypeError("text in + - * /")
    if values.dtype.kind in "biu" and values.dtype != np.int64:
        values = values.astype(np.int64, casting="safe")
    return _Number(values, _extremes(values))


def _combined(op: ast.operator, left: _Number, right: _Number) -> _Number:
    compute = _ARITHMETIC[type(op)]
    extremes = None
    if left.extremes and right.extremes and isinstance(op, _MAY_OVERFLOW):
        corners = [compute(one, other) for one in left.extremes for other in right.extremes]
        extremes = (min(corners), max(corners))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if extremes is None or (_INT.min <= extremes[0] and extremes[1] <= _INT.max):
            return _Number(compute(left.values, right.values), extremes)
        # the extremes may stand in different rows: as floats it shows whether a pair overflows
        sides = (np.asarray(side.values, dtype=float) for side in (left, right))
        if np.any(np.abs(compute(*sides)) >= 2.0**63):
            raise OverflowError("whole numbers beyond 64 bits")
        values = compute(left.values, right.values)
        return _Number(values, _extremes(np.asarray(values)))


def _extremes(values: np.ndarray) -> tuple[int, int] | None:
    if values.dtype != np.int64 or not values.size:
        return None
    return int(values.min()), int(values.max())
