"""Whether the values of fields can be meant: their types, by annotations, and bounds, by names."""

import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

from opensora.core.errors import ConfigError, shown

_LONGEST = 80  # characters of a value in a sentence
# keywords of models, schedulers and encoders that mean the same in all of them
_SIZES = frozenset(
    [
        *("depth", "hidden_size", "num_heads", "patch_size", "in_channels", "caption_channels"),
        *("model_max_length", "input_sq_size", "num_classes", "num_timesteps", "order"),
        *("num_sampling_steps", "diffusion_steps", "micro_batch_size", "micro_frame_size"),
        *("max_new_tokens", "batch_size", "num_frames", "frame_interval", "image_size"),
        "accumulate",  # of a run
    ]
)
_FACTORS = frozenset(
    ["mlp_ratio", "time_scale", "space_scale", "transform_scale", "scaling_factor"]
)
# beyond these torch can not count the numbers of a layer
_LARGEST_SIZE, _LARGEST_FACTOR = 2**31 - 1, 1_000_000
_CHANCES = frozenset(["class_dropout_prob", "drop_path"])
_ANY = "any value"


def check_value(name: str, value: object, hint: Any) -> None:
    """Check one field against its annotation, and where its name says so its bounds.

    Numbers are finite, whole numbers no truth values; what is annotated otherwise than with plain
    values passes.

    Args:
        name: of the field, as errors call it; its last part decides the bounds.
        value: what was given.
        hint: annotation of the field.

    Raises:
        ConfigError: it can not be meant.
    """
    numbers = _numbers(value)
    bounds, lies_within = _bounds(name.rpartition(".")[2], max(numbers, default=0))
    is_numbers = value is None or all(map(lies_within, numbers))
    if not (_fits(value, hint) and is_numbers):
        given = shown(repr(value), _LONGEST)
        raise ConfigError(f"{name} is {given}; expected {_meaning(hint, bounds)}")


def _bounds(name: str, largest: float) -> tuple[str, Any]:
    """Words and test of a name's bounds; the upper one is named where `largest` is beyond it."""
    if name in _SIZES:
        end = f" and at most {_LARGEST_SIZE:,}" if largest > _LARGEST_SIZE else ""
        return f" of at least 1{end}", lambda number: 1 <= number <= _LARGEST_SIZE
    if name in _FACTORS:
        end = f" and at most {_LARGEST_FACTOR:,}" if largest > _LARGEST_FACTOR else ""
        return f" above 0{end}", lambda number: 0 < number <= _LARGEST_FACTOR
    if name in _CHANCES:
        return " from 0 to 1", lambda number: 0 <= number <= 1
    return "", lambda number: True


def _numbers(value: object) -> list[float]:
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]


def _fits(value: object, hint: Any) -> bool:
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if kind in (Union, types.UnionType):
        return any(_fits(value, each) for each in inner)
    if kind is Literal:
        return any(type(value) is type(each) and value == each for each in inner)
    if kind in (tuple, list) or kind is Sequence:
        return isinstance(value, list | tuple) and _all_fit(value, kind, inner)
    if kind in (dict, Mapping):
        pairs = value.items() if isinstance(value, Mapping) else [(None, None)]
        return all(_fits(k, inner[0]) and _fits(v, inner[1]) for k, v in pairs)
    if hint in (None, type(None)):
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and math.isfinite(value)  # type: ignore[arg-type]
    if hint in (str, Path):
        return isinstance(value, str | Path)
    return True


def _all_fit(values: Sequence[Any], kind: Any, inner: tuple[Any, ...]) -> bool:
    if kind is tuple and Ellipsis not in inner:
        fits = zip(values, inner, strict=False)
        return len(values) == len(inner) and all(_fits(value, each) for value, each in fits)
    return all(_fits(value, inner[0]) for value in values)


def _meaning(hint: Any, bounds: str) -> str:
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if kind in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_meaning(each, bounds) for each in inner))
    if kind is Literal:
        return " or ".join(map(repr, inner))
    if kind is tuple and Ellipsis not in inner:
        return f"{len(inner)} values, each {_meaning(inner[0], bounds)}"
    if kind in (tuple, list) or kind is Sequence:
        return f"a list, each {_meaning(inner[0], bounds)}"
    if kind in (dict, Mapping):
        return "fields, as dict(name=value)"
    numbers = {int: f"a whole number{bounds}", float: f"a number{bounds}"}
    others = {bool: "True or False", str: "a text", Path: "a path", type(None): "None"}
    return {**numbers, **others}.get(hint, _ANY)
