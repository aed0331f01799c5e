"""The identity of a rule: equal for equal values, different for whatever changes a result."""

import json
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensora.core.errors import ConfigError
from opensora.dag.identity import canonical_text, changes, identity, recorded_identities


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 3


@dataclass
class Size:
    height: int = 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": {"x": 1, "y": (2, 3)}}, {"a": {"y": [2, 3], "x": 1}}),
        ({"a": {3, 1, 2}}, {"a": [1, 2, 3]}),
        ({"a": Path("x/y")}, {"a": "x/y"}),
        ({"a": np.int64(3), "b": np.float64(0.5)}, {"a": 3, "b": 0.5}),
        ({"a": np.float32(0.5), "b": np.bool_(True)}, {"a": 0.5, "b": True}),
        ({"a": np.array(2)}, {"a": 2}),
        ({"a": Colour.RED, "b": Level.LOW}, {"a": "red", "b": 3}),
        ({"a": date(2024, 2, 1)}, {"a": "2024-02-01"}),
        ({"a": datetime(2024, 2, 1, 3)}, {"a": "2024-02-01T03:00:00"}),
        ({"a": {1: "x"}}, {"a": {"1": "x"}}),
    ],
)
def test_equal_values_have_one_text(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert canonical_text(one) == canonical_text(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),  # swapped
        ({"a": 1}, {"b": 1}),  # moved
        ({"a": 1, "b": None}, {"a": 1}),
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {"a": True}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": ["x", "y"]}, {"a": ["x y"]}),
        ({"a": {"b": {}}}, {"a": {}}),
        ({"a": Path("x")}, {"a": Path("y")}),
        ({"a": np.float32(0.1)}, {"a": np.float32(0.2)}),
        ({"a": 0.1}, {"a": 0.1 + 2**-56}),
    ],
)
def test_other_values_have_another_text(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert canonical_text(one) != canonical_text(other)


@pytest.mark.parametrize(
    "value",
    [
        *(np.zeros(2), b"bytes", Fraction(1, 3), Size(), Size, object(), 1j, len),
        *(float("nan"), float("inf"), np.float32("nan"), {1: 0, "1": 0}, [object()], range(3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_a_text_of_its_own_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="identity"):
        canonical_text({"a": value})


@pytest.mark.parametrize(
    "function", [lambda wildcards, input: 1, lambda wildcards, output: 1, lambda: 1, len]
)
def test_a_function_of_more_than_wildcards_is_refused(function: Any) -> None:
    with pytest.raises(ConfigError, match="identity: a is a function of something else"):
        identity(version=1, a=function)


def test_a_function_of_wildcards_is_called() -> None:
    made = identity(version=1, shard=lambda wildcards: wildcards["shard"])
    assert json.loads(made({"shard": "0003"})) == {"version": 1, "shard": "0003"}


def test_an_identity_has_a_version() -> None:
    with pytest.raises(ConfigError, match="expected version="):
        identity(a=1)


@pytest.mark.parametrize("text", ['it\'s; A "b" \\ c', "a\nb", "é{x}'}", "{'a': 1}; Missing", ""])
def test_an_identity_is_found_again_in_a_reason(text: str) -> None:
    made = canonical_text({"version": 1, "a": text})
    assert made.isascii()
    assert len(made.splitlines()) == 1
    assert "; " not in made
    others = [repr("-- 'x'"), repr(json.dumps({"filters": {"max": 1}})), repr([1, "{}"])]
    for words in ([*others, repr(made)], [repr(made), *others]):
        assert recorded_identities(",".join(words)) == [{"version": 1, "a": text}]


def test_changes_name_the_setting_and_both_values() -> None:
    before = {"version": 1, "max_s": 2.0, "same": 1, "c": {"lr": 1e-4, "model": {"depth": 2}}}
    now = {"version": 2, "max_s": 3.0, "same": 1, "c": {"model": {"depth": 4}}, "who": "me"}
    assert changes(before, now) == [
        *("version 1 -> 2", "c.lr 0.0001 -> nothing", "c.model.depth 2 -> 4"),
        *("max_s 2.0 -> 3.0", "who nothing -> me"),
    ]
    listed = {"version": 1, "listing": "a"}
    assert changes(listed, {**listed, "listing": "b"}) == ["files were added, changed or removed"]
    assert changes(listed, dict(listed)) == []
