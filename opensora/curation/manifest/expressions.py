"""Conditions over columns, such as `flow > 0.5 or kind == 'image'`, read without running code."""

import ast
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from opensora.core.errors import ConfigError, did_you_mean

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


class Condition:
    """A condition on the columns of a table.

    Known are column names, numbers, quoted text, comparisons (also chained), `in (...)`, `not in`,
    `and`, `or`, `not`, `+ - * /` and parentheses; nothing else, so that a config holds no code.
    A comparison with an empty cell is false.

    Attributes:
        text: as the user wrote it.
        columns: names that it reads, in order.
    """

    def __init__(self, text: str) -> None:
        """Parse.

        Raises:
            ConfigError: not an expression of the known kind.
        """
        self.text = text
        try:
            self._tree = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"keep_if {text!r}: not an expression ({getattr(error, 'msg', error)}); expected"
                " for example: flow > 0.5 or kind == 'image'"
            ) from error
        names = [node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)]
        self.columns = tuple(dict.fromkeys(names))
        self._check(self._tree)

    def holds(self, table: pd.DataFrame) -> np.ndarray:
        """Where the condition is true: bool [N].

        Raises:
            ConfigError: a column that the table lacks, or text compared with a number.
        """
        for name in self.columns:
            if name not in table.columns:
                hint = did_you_mean(name, table.columns)
                raise ConfigError(f"keep_if {self.text!r}: there is no column {name!r}{hint}")
        try:
            value = _evaluate(self._tree, table)
        except TypeError as error:
            raise ConfigError(
                f"keep_if {self.text!r}: text and numbers do not compare ({error})"
            ) from error
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
            case ast.Constant(value=int() | float() | str()):
                pass
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                self._check_value(inner)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                self._check_value(left)
                self._check_value(right)
            case _:
                raise self._unknown(node)

    def _check_collection(self, node: ast.AST) -> None:
        if not isinstance(node, ast.Tuple | ast.List) or not all(
            isinstance(item, ast.Constant) for item in node.elts
        ):
            raise self._unknown(node)

    def _unknown(self, node: ast.AST) -> ConfigError:
        return ConfigError(
            f"keep_if {self.text!r}: {ast.unparse(node)!r} can not stand there; known are columns,"
            " numbers, quoted text, comparisons, in, and, or, not, + - * /"
        )


def _evaluate(node: ast.AST, table: pd.DataFrame) -> Any:
    match node:
        case ast.BoolOp(op=op, values=parts):
            combine = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return combine.reduce(
                [np.broadcast_to(_evaluate(part, table), len(table)) for part in parts]
            )
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return np.logical_not(_evaluate(inner, table))
        case ast.UnaryOp(operand=inner):
            return -_evaluate(inner, table)
        case ast.BinOp(left=left, op=op, right=right):
            with np.errstate(divide="ignore", invalid="ignore"):
                return _ARITHMETIC[type(op)](_evaluate(left, table), _evaluate(right, table))
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [left, *others]
            links = zip(sides[:-1], ops, sides[1:], strict=True)
            return np.logical_and.reduce(
                [np.broadcast_to(_compare(*link, table), len(table)) for link in links]
            )
        case ast.Name(id=name):
            values = table[name]
            return values.to_numpy(dtype=object if _is_text(values) else None)
        case ast.Constant(value=value):
            return value
    raise AssertionError(ast.dump(node))  # the constructor checked the tree


def _compare(left: ast.AST, op: ast.cmpop, right: ast.AST, table: pd.DataFrame) -> Any:
    if isinstance(op, ast.In | ast.NotIn):
        assert isinstance(right, ast.Tuple | ast.List)
        allowed = [item.value for item in right.elts if isinstance(item, ast.Constant)]
        found = pd.Series(np.broadcast_to(_evaluate(left, table), len(table))).isin(allowed)
        return ~found.to_numpy() if isinstance(op, ast.NotIn) else found.to_numpy()
    first, second = _evaluate(left, table), _evaluate(right, table)
    there = pd.notna(first) & pd.notna(second)  # an empty cell is unequal to everything: not true
    return _COMPARE[type(op)](first, second) & there


def _is_text(values: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(values)
