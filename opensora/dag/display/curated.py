"""What curation kept, in the line with which a run ends."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opensora.dag.explain import count, duration

RULES = ("build_manifest", "import_manifest")
_FUNNEL, _REJECTED = "funnel.json", "rejected.csv"


def kept_line(outputs: Sequence[str]) -> str:
    """Clips and seconds that are left of what came in, and where the reasons of the others stand.

    Args:
        outputs: files that one of `RULES` wrote.

    Returns:
        "" where they tell nothing of it.
    """
    by_name = {Path(path).name: path for path in outputs}
    try:
        funnel: dict[str, Any] = json.loads(Path(by_name[_FUNNEL]).read_text("utf-8"))
        kept, first = funnel["kept"], funnel["stages"][0]
        lost = sum(
            reason["rows"] for stage in funnel["stages"] for reason in stage["reasons"].values()
        )
        clips, seconds, of = kept["rows"], kept["seconds"], first["seconds_in"]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return ""
    footage = f", {duration(seconds)} of {duration(of)}" if of else ""
    said = f"kept: {count(clips, 'clip')}{footage}"
    if not lost:
        return said
    return (
        f"{said}; {count(lost, 'row')} left out, each with its reason: {by_name.get(_REJECTED, '')}"
    )
