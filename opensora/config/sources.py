"""How much each source of a run counts in training: weights, repeats and limits, checked.

With `weight` the shares of an epoch are as the weights. With `repeat` each clip of the source is
seen so often in an epoch. `max_share` is the largest share that a source has of an epoch.
"""

import json
from collections.abc import Mapping
from typing import Any

from opensora.core.errors import ConfigError, did_you_mean, shown

WEIGHT, REPEAT, MAX_SHARE = "weight", "repeat", "max_share"
RATES = (WEIGHT, REPEAT, MAX_SHARE)

Rates = Mapping[str, Mapping[str, float]]  # of each source those of RATES that are given


def rates_of(text: str) -> dict[str, dict[str, float]]:
    """Read what `--sources` gives: JSON, as `{"web": {"weight": 3}, "own": {"weight": 1}}`.

    Raises:
        ConfigError: something else, or see `check_rates`.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"--sources: expected JSON, got {shown(text, 200)!r} ({error})"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise ConfigError('--sources: expected an object such as {"web": {"weight": 3}}')
    for name, given in found.items():
        for field, value in given.items():
            if field not in RATES:
                hint = did_you_mean(field, RATES)
                raise ConfigError(f"--sources: {name}: unknown field {field!r}{hint}")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(f"--sources: {name}: {field} is {value!r}; expected a number")
    check_rates(found, "--sources")
    return found


def given_rates(sources: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The rates of a run's sources; empty where none has one, so that all clips count alike."""
    rates = {
        source["name"]: {field: source[field] for field in RATES if source[field] is not None}
        for source in sources
    }
    return rates if any(rates.values()) else {}


def check_rates(rates: Rates, place: str) -> None:
    """Refuse rates that are none or that contradict each other.

    Args:
        rates: of each source.
        place: where they stand, for the error.

    Raises:
        ConfigError: names source and field, and says what to do.
    """
    for name, given in rates.items():
        for field, value in given.items():
            if not 0 < value < float("inf"):
                raise ConfigError(
                    f"{place}: {name}: {field} is {value}; expected a number above 0, and no source"
                    " for one that is not wanted"
                )
        if given.get(MAX_SHARE, 1) > 1:
            raise ConfigError(
                f"{place}: {name}: max_share is {given[MAX_SHARE]}; expected a share of the epoch"
                " from 0 to 1"
            )
    weighted = [name for name, given in rates.items() if WEIGHT in given]
    for name, given in rates.items() if weighted else ():
        for field in (REPEAT, MAX_SHARE):
            if field in given:
                whose = "its weight" if WEIGHT in given else f"the weight of {weighted[0]}"
                raise ConfigError(
                    f"{place}: {name}: {field} contradicts {whose}, as weights say the share of"
                    f" every source; leave {field} out, or all weights"
                )
        if WEIGHT not in given:
            raise ConfigError(
                f"{place}: {name}: has no weight, and {weighted[0]} has one; give each source a"
                " weight"
            )
    limits = [given.get(MAX_SHARE, 1) for given in rates.values()]
    if limits and sum(limits) < 1:
        raise ConfigError(
            f"{place}: the max_share of all sources are {sum(limits):g} together, which leaves a"
            " part of the epoch to nobody; raise one to make 1 or more"
        )
