"""What a run found when it listed its inputs, once, for the jobs that it starts.

Each job parses the workflow again. To walk a million files for it takes minutes, in every job, of a
file system that all of them share; the process that the user starts writes the hashes down.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opensora.core.io import write_text


def keep_listing(path: Path, given: Sequence[Any], hashes: Sequence[str]) -> None:
    """Write the hashes of all shards; nothing where they stand there already.

    Args:
        path: file of the run.
        given: what was listed, as JSON has it.
        hashes: of each shard.
    """
    if read_listing(path, given) != list(hashes):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"given": list(given), "hashes": list(hashes)}) + "\n")


def read_listing(path: Path, given: Sequence[Any]) -> list[str]:
    """The hashes of all shards; empty where nobody has listed this, or only something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [str(name) for name in found["hashes"]] if found["given"] == list(given) else []
