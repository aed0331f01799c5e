"""Evaluations compared with one another, as `evaluate --against` wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opensora.core.errors import ConfigError, OpenSoraError
from opensora.core.io import read_json

_LAYOUT = 1  # of evaluation/against.py
_NOISE = "noise"
_SPAN = ("mean", "low", "high")


def comparisons(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Read comparisons for the page.

    Args:
        paths: JSON files of `evaluate --against` with `--output`.

    Returns:
        Of each file `base`, `names`, `skipped` (name, why), and `lines`: metric, of, better, value
        and base (mean, low, high), difference (the same), count of pairs (0: of means alone),
        verdict, is_noise.

    Raises:
        ConfigError: a file is none.
    """
    return [_comparison(path) for path in paths]


def _comparison(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
        if found["version"] != _LAYOUT:
            raise ConfigError(
                f"--against: {path} has layout {found['version']} and this version reads {_LAYOUT};"
                " compare again"
            )
        return {
            "base": found["base"],
            "names": list(found["names"]),
            "lines": [
                _line(metric, name, entry, found["base"])
                for metric, entry in found["metrics"].items()
                for name in entry["differences"]
            ],
            "skipped": [{"name": name, "why": why} for name, why in found["skipped"].items()],
        }
    except ConfigError:
        raise
    except (OpenSoraError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"--against: {path} is no comparison; make it with `opensora evaluate --against FILE"
            f" FILE --output {path}`"
        ) from error


def _line(metric: str, name: str, entry: Mapping[str, Any], base: str) -> dict[str, Any]:
    change = entry["differences"][name]
    return {
        **{"metric": metric, "of": name, "better": entry["better"], "unit": entry["unit"]},
        "value": {key: entry["values"][name][key] for key in _SPAN},
        "base": {key: entry["values"][base][key] for key in _SPAN},
        "difference": {key: change[key] for key in _SPAN},
        "count": change["count"] if change["paired"] else 0,
        **{"verdict": change["verdict"], "is_noise": change["verdict"] == _NOISE},
    }
