"""From clips to a manifest, here and in another checkout, in processor seconds.

Both sides run their own commands on the same clip files, each command in a process of its own. The
clips are cut before anything is measured: passes over the videos, each with pieces a frame longer
than those of the pass before, so that no two clips are the same.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.bench.checkout import HERE, run_in
from opensora.bench.measure import Stopwatch, machine
from opensora.core.errors import OpenSoraError
from opensora.core.io import read_json
from opensora.core.terminal import align
from opensora.curation.clips.lengths import ClipSettings
from opensora.curation.clips.split_clips import split_clips
from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.tables.columns import CLIPS, OK, SCENES, VIDEOS
from opensora.tables.io import write_table

SHORT_SIDE_PX = 256
FEWEST_FRAMES = 24  # of a clip of the first pass
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


def make_clips(videos: Sequence[str], count: int, folder: Path, workers: int) -> pd.DataFrame:
    """Cut `count` clips; write VIDEOS, SCENES and CLIPS of them into the folder.

    Raises:
        OpenSoraError: no good video, or a clip can not be cut.
    """
    table = ingest_videos(videos, workers=workers)
    good = table[(table["status"] == OK) & (table["kind"] == "video")]
    if good.empty or good["num_frames"].max() < FEWEST_FRAMES:
        raise OpenSoraError(f"{', '.join(videos)}: no video of {FEWEST_FRAMES} frames; give longer")
    settings = ClipSettings(min_s=0.1, max_s=60.0, short_side=SHORT_SIDE_PX)
    scenes, clips = [], []
    for length in _lengths(good, count):
        tiles = pd.DataFrame(_tiles(good, length))[: count - sum(map(len, clips))]
        cut = split_clips(tiles, folder / "clips", settings, workers=workers)
        if (bad := cut[cut["status"] != OK]).shape[0]:
            raise OpenSoraError(f"bench: a clip could not be cut: {bad['detail'].iloc[0]}")
        scenes.append(tiles)
        clips.append(cut)
    used = good[good["id"].isin(pd.concat(scenes)["video_id"])]
    for rows, kind in ((used, VIDEOS), (pd.concat(scenes), SCENES), (pd.concat(clips), CLIPS)):
        write_table(rows.reset_index(drop=True), folder / f"{kind.name}.csv", kind)
    return pd.concat(clips)


def _lengths(videos: pd.DataFrame, count: int) -> Iterator[int]:
    """Frames of the clips of each pass, until there are enough clips."""
    length, made = FEWEST_FRAMES, 0
    while made < count:
        pieces = int((videos["num_frames"] // length).sum())
        if not pieces:
            raise OpenSoraError(f"{count} different clips are more than these videos hold")
        made += pieces
        yield length
        length += 1


def _tiles(videos: pd.DataFrame, length: int) -> Iterator[dict[str, Any]]:
    """Rows of SCENES: each video in pieces of this many frames, without its rest."""
    for video in videos.to_dict("records"):
        for first in range(0, video["num_frames"] - length + 1, length):
            row = {name: video[name] for name in ("path", "kind", "sha256", "status", "detail")}
            row |= {"id": f"{video['id']}_{length:03d}_{first:06d}", "video_id": video["id"]}
            row |= {"start_frame": first, "end_frame": first + length}
            yield row | {"start": first / video["fps"], "end": (first + length) / video["fps"]}


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
