"""What a run found when it listed its inputs, once, for the jobs that it starts.

Each job parses the workflow again. To walk a million files for it takes minutes, in every job, of a
file system that all of them share; the process that the user starts writes the hashes down.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from opensora.core.io import write_text


def keep_listing(
    path: Path, given: Sequence[Any], hashes: Sequence[str], largest: int | None = None
) -> None:
    """Write the hashes of all shards; nothing where they stand there already.

    Args:
        path: file of the run.
        given: what was listed, as JSON has it.
        hashes: of each shard.
        largest: bytes of the files of the largest shard.
    """
    if read_listing(path, given) != list(hashes) or largest_shard(path) != largest:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = {"given": list(given), "largest": largest, "hashes": list(hashes)}
        write_text(path, json.dumps(found) + "\n")


def read_listing(path: Path, given: Sequence[Any]) -> list[str]:
    """The hashes of all shards; empty where nobody has listed this, or only something else."""
    found = _read(path)
    if not found or found["given"] != list(given):
        return []
    return [str(name) for name in found["hashes"]]


def largest_shard(path: Path) -> int | None:
    """Bytes of the files of the largest shard; None where nobody has listed them."""
    return _read(path).get("largest")


@lru_cache(maxsize=4)
def _parsed(path: Path, time: int) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> dict[str, Any]:
    """The file, read once as long as it stays the same."""
    try:
        return _parsed(path, path.stat().st_mtime_ns)
    except (OSError, ValueError):
        return {}
