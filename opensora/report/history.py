"""What changed since the last report of a run: its facts are kept beside the page."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from opensora import __version__
from opensora.core.errors import OpenSoraError
from opensora.core.io import read_json, write_json
from opensora.core.versions import VERSIONS
from opensora.report.collect import RunFolder

_FILE = "facts.json"
_CONFIG = "config.yaml"


def facts_of(run: RunFolder) -> dict[str, Any]:
    """What a reader would want to know of another run than this: settings, plans, numbers."""
    facts: dict[str, Any] = {"opensora": __version__}
    facts |= {f"version of {name}": number for name, number in VERSIONS.items()}
    facts |= {f"config {path}": value for path, value in settings_of(run)}
    for name, text in run.configs.items():
        if name != _CONFIG:
            facts[f"config {name}"] = short_hash(text)
    facts |= {f"{key} of the manifest": value for key, value in run.kept.items()}
    for stage in run.stages:
        facts[f"{stage.name}: plan"] = (stage.buckets or {}).get("hash", "")[:12]
        if len(stage.metrics) and "step" in stage.metrics:
            facts[f"{stage.name}: steps"] = int(stage.metrics["step"].max())
            if "loss_ema" in stage.metrics:
                facts[f"{stage.name}: loss"] = float(stage.metrics["loss_ema"].iloc[-1])
        facts[f"{stage.name}: samples"] = len(stage.samples)
    return facts


def settings_of(run: RunFolder) -> Iterator[tuple[str, Any]]:
    """Paths and values of the workflow's config, as ("stages.0.epochs", 3)."""
    yield from _leaves("", config_of(run))


def config_of(run: RunFolder) -> dict[str, Any]:
    """The workflow's config as the run had it; {} where none can be read."""
    try:
        settings = yaml.safe_load(run.configs.get(_CONFIG, ""))
    except yaml.YAMLError:
        settings = None
    return settings if isinstance(settings, dict) else {}


def short_hash(text: str) -> str:
    """Twelve digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def changes(facts: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Compare with the report that is about to be replaced.

    A report that is only written again says what the one before it said.

    Args:
        facts: of the run now.
        folder: of that report; it may be missing, or hold none that can be read.

    Returns:
        `lines`, each with name, before and now; `first`: whether there is nothing to compare with.
    """
    before = _last(folder)
    if before is not None and before["facts"] == facts:
        before = {"facts": before["before"]} if before["before"] else None
    if before is None:
        return {"first": True, "lines": [], "before": None}
    old = before["facts"]
    names = [name for name in {**old, **facts} if old.get(name) != facts.get(name)]
    lines = [{"name": n, "before": old.get(n), "now": facts.get(n)} for n in names]
    return {"first": False, "lines": lines, "before": old}


def keep(facts: Mapping[str, Any], before: Mapping[str, Any] | None, folder: Path) -> None:
    """Write the facts for the next report."""
    write_json(folder / _FILE, {"facts": facts, "before": before})


def _last(folder: Path) -> dict[str, Any] | None:
    try:
        found = read_json(folder / _FILE)
    except (OpenSoraError, OSError):
        return None
    is_ours = isinstance(found, dict) and isinstance(found.get("facts"), dict)
    return found if is_ours and "before" in found else None


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        if isinstance(part, (dict, list)) and part:
            yield from _leaves(f"{path}{key}.", part)
        else:
            yield f"{path}{key}", part if isinstance(part, (int, float)) else str(part)
