"""Curation, stage by stage, against a plain decode and a plain encode of the same frames.

The comparison: the time from a folder of videos to scored clips, over that of decoding every
source frame once and encoding every kept frame once, both in the same run.
"""

import math
import subprocess
import tempfile
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from opensora.bench.curation_stages import PIPELINE, PLAIN, StageJob, run_stage
from opensora.bench.measure import machine
from opensora.core.errors import OpenSoraError
from opensora.core.io import read_json
from opensora.core.terminal import align, short
from opensora.media.encode import ffmpeg_executable
from opensora.tables.columns import CLIPS, OK, SCENES, VIDEOS
from opensora.tables.io import read_table

GOAL_RATIO = 2.5
LONG_SIZE = "1920x1080"
LONG_RATE = 25  # frames a second


def bench_curation(inputs: Sequence[str], *, workers: int, plain: bool = True) -> dict[str, Any]:
    """Run all stages on some videos, in a temporary folder.

    Args:
        inputs: folders or files.
        workers: processes that work at the same time.
        plain: also measure the plain decode and encode.

    Returns:
        `machine`, `workers`, `counts` (videos, scenes, clips, source_frames, clip_frames),
        `stages` (name -> seconds, start_s, cpu_seconds, peak_bytes) and, with `plain`, `ratio`
        (of wall time) and `cpu_ratio`.

    Raises:
        OpenSoraError: a stage failed, or there is no good video.
    """
    with tempfile.TemporaryDirectory(prefix="opensora-bench-") as folder:
        job = StageJob(tuple(inputs), Path(folder), workers)
        stages = {name: _measure(name, job) for name in PIPELINE}
        counts = _counts(job.work)
        if not counts["clips"]:
            raise OpenSoraError(f"{', '.join(inputs)}: no clip came out; give good videos")
        if plain:
            stages |= {name: _measure(name, job) for name in PLAIN}
    found = {"machine": machine(), "workers": workers, "counts": counts, "stages": stages}
    if plain:
        for key, kind in (("ratio", "seconds"), ("cpu_ratio", "cpu_seconds")):
            ours = sum(stages[name][kind] for name in PIPELINE)
            found[key] = ours / max(1e-9, sum(stages[name][kind] for name in PLAIN))
    return found


def bench_long_video(seconds: float, *, workers: int) -> dict[str, Any]:
    """Run all stages on one generated 1080p video, to see what memory they take.

    Raises:
        OpenSoraError: ffmpeg can not make the video, or a stage failed.
    """
    with tempfile.TemporaryDirectory(prefix="opensora-bench-") as folder:
        path = Path(folder) / "long.mp4"
        command = [
            *(ffmpeg_executable(), "-loglevel", "error", "-f", "lavfi"),
            *("-i", f"testsrc2=size={LONG_SIZE}:rate={LONG_RATE}:duration={seconds:g}"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", str(path)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            words = done.stderr.strip().splitlines() or ["no message"]
            raise OpenSoraError(f"ffmpeg could not make a video of {seconds:g} s ({words[-1]})")
        return bench_curation([str(path)], workers=workers, plain=False)


def curation_table(found: dict[str, Any]) -> str:
    """The figures as aligned columns; throughput is that of source frames, of kept clips."""
    counts = found["counts"]
    rows = [_row(name, found["stages"][name], counts) for name in PIPELINE]
    rows.append(_row("all stages", _total(found, PIPELINE), counts))
    if "ratio" in found:
        rows += [_row(f"plain {name}", found["stages"][name], counts) for name in PLAIN]
        rows.append(_row("both plain", _total(found, PLAIN), counts))
    header = ("stage", "seconds", "clips/s", "frames/s", "CPU s", "memory", "start s")
    return align(header, rows)


def curation_summary(found: dict[str, Any]) -> str:
    """One line."""
    counts = found["counts"]
    peak = max(stage["peak_bytes"] for stage in found["stages"].values())
    words = [
        f"{counts['videos']} videos, {counts['source_frames']} frames, {counts['clips']} clips",
        f"{found['workers']} workers, at most {short(peak, 'B')}",
    ]
    if "ratio" in found:
        words.append(
            f"{found['ratio']:.2f} times a plain decode and encode (goal {GOAL_RATIO}),"
            f" {found['cpu_ratio']:.2f} times their processor time"
        )
    return "; ".join(words)


def _measure(name: str, job: StageJob) -> dict[str, Any]:
    """Run a stage in a fresh process."""
    result = job.work / f"{name}.json"
    process = get_context("spawn").Process(target=run_stage, args=(name, job, result))
    process.start()
    try:
        process.join()
    finally:  # nothing goes on where this one is stopped
        if process.is_alive():
            process.terminate()
        process.join()
    if process.exitcode:
        raise OpenSoraError(f"the stage {name} ended with code {process.exitcode}; see above")
    figures: dict[str, Any] = read_json(result)
    return figures


def _counts(work: Path) -> dict[str, int]:
    videos = read_table(work / "videos.csv", VIDEOS)
    clips = read_table(work / "clips.csv", CLIPS)
    good = clips[clips["status"] == OK]
    return {
        "videos": int((videos["status"] == OK).sum()),
        "scenes": int((read_table(work / "scenes.csv", SCENES)["status"] == OK).sum()),
        "clips": len(good),
        "source_frames": int(videos["num_frames"].sum()),
        "clip_frames": int(good["num_frames"].sum()),
    }


def _total(found: dict[str, Any], names: Sequence[str] | dict[str, Any]) -> dict[str, Any]:
    stages = [found["stages"][name] for name in names]
    sums = {key: sum(stage[key] for stage in stages) for key in ("seconds", "cpu_seconds")}
    start_s = sum(stage["start_s"] for stage in stages)
    return {**sums, "start_s": start_s, "peak_bytes": max(stage["peak_bytes"] for stage in stages)}


def _row(name: str, stage: dict[str, Any], counts: dict[str, int]) -> tuple[str, ...]:
    seconds = stage["seconds"] or math.inf
    return (
        name,
        f"{stage['seconds']:.2f}",
        f"{counts['clips'] / seconds:.1f}",
        f"{counts['source_frames'] / seconds:.0f}",
        f"{stage['cpu_seconds']:.2f}",
        short(stage["peak_bytes"], "B"),
        f"{stage['start_s']:.1f}",
    )
