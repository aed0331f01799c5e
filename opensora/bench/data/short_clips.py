"""From clips to a manifest, here and in another checkout, in processor seconds.

Both sides run their own commands on the same clip files (see `pieces`), each in its own process.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opensora.bench.checkout import HERE, run_in
from opensora.bench.data.pieces import make_clips
from opensora.bench.measure import Stopwatch, machine
from opensora.core.io import read_json
from opensora.core.terminal import align

SCORERS = ("technical", "flow", "camera", "phash")  # those of configs/workflow/default.yaml
MAX_DISTANCE = 8  # the same
STEPS = ("caption_clips", "score_clips", "build_manifest")
GOAL = 0.5  # of the other checkout's processor time
_COLUMNS = """
import json, sys
from opensora.tables.columns import CLIPS, SCENES, VIDEOS
from opensora.tables.io import read_table, write_table
for table in (VIDEOS, SCENES, CLIPS):
    source, goal = (f"{folder}/{table.name}.csv" for folder in sys.argv[1:3])
    columns = [name for name in table.columns]
    write_table(read_table(source)[columns], goal, table)
"""


@dataclass(frozen=True)
class Side:
    """One checkout.

    Attributes:
        name: "here" or "there".
        checkout: its folder.
        work: folder of its tables.
    """

    name: str
    checkout: Path
    work: Path


def bench_short_clips(
    videos: Sequence[str], *, clips: int, against: Path | None, workers: int, rounds: int
) -> dict[str, Any]:
    """Take clips to a manifest: captions of folder names, the default scorers, duplicates, splits.

    Args:
        videos: folders or files that the clips are cut from.
        clips: how many.
        against: the other checkout; None measures this one alone.
        workers: processes that cut them; what is measured runs in one.
        rounds: turns of the sides; the fastest of each step counts.

    Returns:
        `machine`, `clips`, `frames`, `kept` (side -> rows of the manifest), `cpu_seconds` (side ->
        step -> seconds) and, with `against`, `ratio`: processor seconds here over there.

    Raises:
        OpenSoraError: no good video, or a command failed.
    """
    with tempfile.TemporaryDirectory(prefix="opensora-bench-") as name:
        folder = Path(name)
        table = make_clips(videos, clips, folder, workers)
        sides = [Side("here", HERE, folder / "here")]
        if against is not None:
            sides.append(Side("there", against, folder / "there"))
        for side in sides:
            side.work.mkdir()
            run_in(side.checkout, [str(folder), str(side.work)], program=("-c", _COLUMNS))
        best: dict[str, dict[str, float]] = {side.name: {} for side in sides}
        for _ in range(rounds):
            for side in sides:
                for step, seconds in _measure(side).items():
                    known = best[side.name].get(step, math.inf)
                    best[side.name][step] = min(known, seconds)
        funnels = {side.name: read_json(side.work / "funnel.json") for side in sides}
    kept = {name: funnel["stages"][-1]["rows_kept"] for name, funnel in funnels.items()}
    found: dict[str, Any] = {"machine": machine(), "clips": len(table), "kept": kept}
    found |= {"frames": int(table["num_frames"].sum()), "cpu_seconds": best}
    if against is not None:
        here, there = (sum(best[side.name].values()) for side in sides)
        found["ratio"] = here / there
    return found


def _measure(side: Side) -> dict[str, float]:
    """Processor seconds of each step."""
    work, clips = side.work, str(side.work / "clips.csv")
    tables = {name: str(work / f"{name}.csv") for name in SCORERS}
    words = {
        "caption_clips": ["--clips", clips, "--captioner", "template"],
        "score_clips": ["--scorer", *SCORERS, "--clips", clips],
        "build_manifest": [
            *("--videos", str(work / "videos.csv"), "--scenes", str(work / "scenes.csv")),
            *("--clips", clips, "--captions", str(work / "captions.csv")),
            *("--scores", *(f"{name}={path}" for name, path in tables.items())),
            *("--max-distance", str(MAX_DISTANCE), "--prefer", "sharpness"),
            *("--manifest", str(work / "manifest.csv"), "--funnel", str(work / "funnel.json")),
            *("--rejected", str(work / "rejected.csv"), "--data-card", str(work / "card.md")),
        ],
    }
    words["caption_clips"] += ["--output", str(work / "captions.csv")]
    words["score_clips"] += ["--output", str(work / "{scorer}.csv")]
    seconds = {}
    for step in STEPS:
        with Stopwatch() as watch:
            run_in(side.checkout, [step.replace("_", "-"), *words[step]])
        seconds[step] = watch.cpu_seconds
    return seconds


def short_clips_table(found: dict[str, Any]) -> str:
    """Processor seconds of each step, side by side."""
    sides = found["cpu_seconds"]
    rows = []
    for step in (*STEPS, "all"):
        taken = [sum(s.values()) if step == "all" else s[step] for s in sides.values()]
        cells = [f"{seconds:.1f}" for seconds in taken]
        rows.append((step, *cells, *([f"{taken[0] / taken[1]:.2f}"] if len(taken) > 1 else [])))
    titles = [f"CPU s {name}" for name in sides] + ["ratio"] * (len(sides) > 1)
    return align(["step", *titles], rows)


def short_clips_summary(found: dict[str, Any]) -> str:
    """One line."""
    seconds = sum(found["cpu_seconds"]["here"].values())
    words = (
        f"{found['clips']} clips, {found['frames']} frames, to a manifest of"
        f" {found['kept']['here']} in {seconds:.1f} CPU seconds"
    )
    if "ratio" in found:
        words += f", {found['ratio']:.2f} of the other checkout's (goal {GOAL})"
    return f"{words} ({found['machine']})"
