"""One text that says what decides a rule's result, so that Snakemake can compare it.

Snakemake compares parameters as a sorted list of the values' texts, without their names: values
that change places, or move to another name, go unseen. Numbers of NumPy, paths, enums, dates and
whatever a function of input or output returns it does not compare at all. So each rule has one
parameter `identity` that holds all of it by name.
"""

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time
from enum import Enum
from pathlib import PurePath
from types import FunctionType
from typing import Any, TypeVar

from opensora.core.errors import ConfigError

VERSION, LISTING = "version", "listing"
_Function = TypeVar("_Function", bound=Callable[..., Any])
_NOTHING = "nothing"  # what a setting is that is not there
_LISTING_CHANGED = "files were added, changed or removed"
# letters that would end a text in Snakemake's reasons, or a field in ours
_ESCAPED = {"'": "\\u0027", ";": "\\u003b"}
_RECORDED = re.compile(r"'\{[^']*\}'")


def identity(**values: Any) -> Callable[[Any], str]:
    """Return what Snakemake calls with the wildcards of a job to get its identity.

    Args:
        **values: all that decides the result, by name: texts, numbers, None, lists and mappings of
            them, and what `plain` makes of others; or a function of `wildcards` that returns one.
            What only says where and how fast (threads, memory, GPUs, paths of results) stays out.

    Raises:
        ConfigError: a function that takes anything else. The function that is returned raises it
            for a value that has no text of its own.
    """
    if VERSION not in values:
        raise ConfigError("identity: expected version=VERSIONS[...] among its values")
    for name, value in values.items():
        if callable(value) and list(inspect.signature(value).parameters) != ["wildcards"]:
            raise ConfigError(
                f"identity: {name} is a function of something else than `wildcards`; what a rule"
                " reads is compared as its input"
            )

    def of_job(wildcards: Any) -> str:
        found = {
            name: value(wildcards) if callable(value) else value for name, value in values.items()
        }
        return canonical_text(found)

    return known_signature(of_job)


def known_signature(function: _Function) -> _Function:
    """Write a function's signature down.

    Snakemake asks for it in every job anew, which takes a tenth of a dry run of thousands.
    """
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return function


def know_signatures(values: Iterable[Any]) -> None:
    """The same for those of a rule's parameters that are functions."""
    for value in values:
        if isinstance(value, FunctionType) and not hasattr(value, "__signature__"):
            known_signature(value)


def canonical_text(values: Mapping[str, Any]) -> str:
    """JSON in ASCII on one line; equal values give equal texts, in whatever order they stand.

    Raises:
        ConfigError: a value that has no text of its own.
    """
    found = plain(dict(values), "identity")
    text = json.dumps(found, sort_keys=True, ensure_ascii=True, allow_nan=False)
    for letter, escape in _ESCAPED.items():  # they stand in texts only, where JSON has escapes
        text = text.replace(letter, escape)
    return text


def plain(value: Any, name: str) -> Any:
    """Return a value as JSON has it: texts, whole and other numbers, yes and no, nothing.

    Paths become texts, NumPy's numbers numbers, enums their values, dates their ISO text, tuples
    lists, sets sorted lists, keys texts.

    Args:
        value: of a config or a rule.
        name: what it is called in an error.

    Raises:
        ConfigError: any other kind, two keys of one text, or a number that is infinite or none.
    """
    if isinstance(value, Enum):
        return plain(value.value, name)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if value - value != 0:
            raise ConfigError(f"{name} is {value}; expected a finite number")
        return float(value)
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return _plain_mapping(value, name)
    if isinstance(value, list | tuple):
        return [plain(item, f"{name}[{k}]") for k, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        return sorted((plain(item, name) for item in value), key=json.dumps)
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return plain(value.item(), name)
    raise ConfigError(
        f"{name} is a {type(value).__name__}, of which a change would go unseen; make it a text, a"
        " number, a list or a mapping of them"
    )


def _plain_mapping(value: Mapping[Any, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        word = plain(key, f"a key of {name}")
        word = word if isinstance(word, str) else json.dumps(word)
        if word in found:
            raise ConfigError(f"{name} has two keys {word!r}, a number and a text; keep one")
        found[word] = plain(item, f"{name}.{word}")
    return found


def recorded_identities(text: str) -> list[dict[str, Any]]:
    """Find the identities among the parameters of one of Snakemake's reasons."""
    found = []
    for literal in _RECORDED.findall(text):
        try:
            values = json.loads(ast.literal_eval(literal))
        except (ValueError, SyntaxError):
            continue
        if VERSION in values:
            found.append(values)
    return found


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what differs between two identities, as `max_s 2.0 -> 3.0`."""
    old, new = flat(before), flat(now)
    found = []
    for name in sorted(old.keys() | new.keys(), key=lambda name: (name != VERSION, name)):
        one, other = (_word(values.get(name)) for values in (old, new))
        if one != other:
            found.append(_LISTING_CHANGED if name == LISTING else f"{name} {one} -> {other}")
    return found


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as one: `{"clips": {"fps": 8}}` becomes `{"clips.fps": 8}`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            found |= {f"{name}.{inner}": item for inner, item in flat(value).items()}
        else:
            found[name] = value
    return found


def _word(value: Any) -> str:
    """A JSON value for people: texts without quotes, and a word for what is not there."""
    if value in (None, "", [], {}):
        return _NOTHING
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
