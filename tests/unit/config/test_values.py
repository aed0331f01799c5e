"""Values of fields: what each annotation lets through, and what a sentence calls the rest."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from opensora.config.values import check_value
from opensora.core.errors import ConfigError


@pytest.mark.parametrize(
    ("hint", "good", "bad", "expected"),
    [
        (int, [3, -1], [True, 3.0, "3", None], "a whole number"),
        (float, [3, 0.5], [True, float("nan"), float("inf"), "0.5"], "a number"),
        (bool, [True], [1, "true", None], "True or False"),
        (str, ["a", Path("b")], [3, ["a"], None], "a text"),
        (int | None, [None, 3], ["three"], "a whole number or None"),
        (Literal["a", "b"], ["a"], ["c", None], "'a' or 'b'"),
        (tuple[int, int], [(1, 2), [1, 2]], [(1,), 3, "12", (1, 2.5)], "2 values, each a whole"),
        (tuple[int | None, ...], [(None, 2), ()], [3, ("a",)], "a list, each a whole number or"),
        (list[str], [["a"], ()], ["a", [1]], "a list, each a text"),
        (Sequence[float], [[1, 0.5]], [0.5, ["a"]], "a list, each a number"),
        (dict[str, float], [{"a": 1}, {}], [0.5, {"a": "b"}, {1: 1.0}], "fields, as dict"),
        (Mapping[str, Any] | None, [{"a": object()}, None], ["a"], "fields, as dict"),
    ],
)
def test_a_value_is_as_its_annotation(hint: Any, good: list, bad: list, expected: str) -> None:
    for value in good:
        check_value("field", value, hint)
    for value in bad:
        with pytest.raises(ConfigError, match=r"^field is .*; expected ") as error:
            check_value("field", value, hint)
        assert f"; expected {expected}" in str(error.value)


@pytest.mark.parametrize(
    ("name", "good", "bad", "expected"),
    [
        ("depth", [1, 99], [0, -1], "a whole number of at least 1"),
        ("model.depth", [1], [0], "a whole number of at least 1"),
        (
            "hidden_size",
            [2**31 - 1],
            [2**31],
            "a whole number of at least 1 and at most 2,147,483,647",
        ),
        ("seed", [-5, 0], [], ""),
    ],
)
def test_names_have_bounds(name: str, good: list, bad: list, expected: str) -> None:
    for value in good:
        check_value(name, value, int)
    for value in bad:
        with pytest.raises(ConfigError, match=f"{name} is {value}; expected {expected}"):
            check_value(name, value, int)


def test_bounds_reach_into_lists_and_leave_none_alone() -> None:
    check_value("patch_size", (1, 2, 2), tuple[int, int, int])
    check_value("model_max_length", None, int | None)
    with pytest.raises(ConfigError, match="each a whole number of at least 1"):
        check_value("patch_size", (1, 0, 2), tuple[int, int, int])
    with pytest.raises(ConfigError, match="a number from 0 to 1"):
        check_value("drop_path", 1.5, float)
    with pytest.raises(ConfigError, match="a number above 0"):
        check_value("mlp_ratio", 0, float)


def test_what_is_annotated_otherwise_passes() -> None:
    check_value("device", object(), bytearray)


def test_a_long_value_is_cut() -> None:
    with pytest.raises(ConfigError) as error:
        check_value("seed", "x" * 5000, int)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("value", [1e30, 10**20])
def test_a_factor_that_no_layer_can_have_is_named_with_its_end(value: float) -> None:
    check_value("model.mlp_ratio", 1e6, float)
    with pytest.raises(ConfigError, match="expected a number above 0 and at most 1,000,000"):
        check_value("model.mlp_ratio", value, float)
