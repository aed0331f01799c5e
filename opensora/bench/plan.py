"""Time and memory of a batch plan of many clips and epochs."""

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.bench.measure import Stopwatch, machine
from opensora.buckets.bucket_config import BucketConfig
from opensora.core.terminal import facts
from opensora.plans.compile import BatchPlan, write_plan
from opensora.plans.stage_plan import plan_training


def bench_plan(
    clips: pd.DataFrame, bucket_config: BucketConfig, *, frame_interval: int, epochs: int
) -> dict[str, Any]:
    """Compile, write and read one plan.

    Args:
        clips: id, num_frames, height, width.
        bucket_config: where they go.
        frame_interval: source frames per used frame.
        epochs: passes.

    Returns:
        rows, epochs, clips (of all epochs), seconds (compile, write, read), memory_bytes and
        file_bytes per clip of all epochs, machine.
    """
    config = {"bucket_config": bucket_config, "frame_interval": frame_interval, "epochs": epochs}
    seconds: dict[str, float] = {}
    with Stopwatch() as watch:
        made = plan_training(clips, config)
    seconds["compile"] = watch.seconds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.parquet"
        with Stopwatch() as watch:
            write_plan(made.plan, path)
        seconds["write"] = watch.seconds
        with Stopwatch() as watch:
            plan = BatchPlan(path)
        seconds["read"] = watch.seconds
        size = path.stat().st_size
    count = len(plan.entries.clips)
    return {
        "rows": len(clips),
        "epochs": epochs,
        "clips": count,
        "seconds": seconds,
        "memory_bytes": plan.table.nbytes / count,
        "file_bytes": size / count,
        "machine": machine(),
    }


def plan_report(result: dict[str, Any]) -> str:
    """Lay the figures out for a terminal."""
    rows = [
        ("machine", result["machine"]),
        ("plan", f"{result['rows']:,} clips, {result['epochs']} epochs: {result['clips']:,}"),
        *((name, f"{value:.2f} s") for name, value in result["seconds"].items()),
        ("memory", f"{result['memory_bytes']:.1f} bytes a clip and epoch"),
        ("file", f"{result['file_bytes']:.1f} bytes a clip and epoch"),
    ]
    return facts(rows) + "\n"
