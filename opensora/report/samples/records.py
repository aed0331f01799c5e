"""The records beside samples: which samples are alike, and the commands that make them again."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opensora.core.errors import OpenSoraError
from opensora.core.io import read_json
from opensora.core.seal import is_as_sealed
from opensora.report.collect import StageFolder
from opensora.report.media import is_inside
from opensora.tables.columns import PATH

_EXACT = 2**53  # JavaScript rounds whole numbers beyond
# a row of the table, its key, its record
Keyed = tuple[Mapping[Any, Any], tuple[str, str], dict[str, Any]]


def keyed_rows(stage: StageFolder) -> list[Keyed]:
    """Rows of the table of samples, each with its key and its record ({} where there is none).

    A key is the prompt, and what tells the noise from that of others: the seed, and the number of
    the sample among those of its prompt.
    """
    rows: list[Keyed] = []
    seen = Counter[tuple[str, str]]()
    for row in stage.samples.to_dict("records"):
        record = read_record(stage.samples_dir / str(row[PATH]), stage.places)
        prompt, seed = str(row["prompt"]), str(row["seed"])
        k = record.get("k", seen[prompt, seed])
        seen[prompt, seed] += 1
        rows.append((row, (prompt, f"{seed}/{k}"), record))
    return rows


def read_record(file: Path, places: Sequence[Path]) -> dict[str, Any]:
    """The record beside a sample; {} where there is none, or it is not what was written."""
    beside = file.with_suffix(".json")
    if not is_inside(beside, places) or not beside.is_file():
        return {}
    try:
        record = read_json(beside)
    except OpenSoraError:
        return {}
    return record if isinstance(record, dict) and is_as_sealed(record) else {}


def replay_command(record: Path) -> str:
    """The command that makes a sample again; "" for a name that no shell takes as one line."""
    path = str(record)
    return shlex.join(["opensora", "sample", "--replay", path]) if path.isprintable() else ""


def exact(value: Any) -> Any:
    """The same with whole numbers as text that JavaScript would round, as seeds of noise."""
    if isinstance(value, Mapping):
        return {name: exact(part) for name, part in value.items()}
    if isinstance(value, list):
        return [exact(part) for part in value]
    is_large = isinstance(value, int) and abs(value) > _EXACT
    return str(value) if is_large else value
