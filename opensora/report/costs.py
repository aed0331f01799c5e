"""What the jobs of each rule and stage took, and what that costs: hours of GPUs, else of CPUs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from opensora.config.job_requests import gpus_of, threads_of
from opensora.report import quantities
from opensora.report.collect import RunFolder, natural
from opensora.report.history import config_of
from opensora.report.sections import Tile

HOUR_S = 3600.0

# in the order of the pipeline
_RULES = (
    *("make_demo", "fetch", "import_manifest", "ingest_videos", "detect_scenes", "import_scenes"),
    *("split_clips", "caption_clips", "score_clips", "train_clip", "score_captions"),
    *("index_tables", "build_manifest", "assign_buckets"),
    *("train_vae", "train_text_encoder", "encode_videos", "encode_captions", "settle_plan"),
    *("train", "certify_resume", "sample_part", "sample", "evaluate"),
    *("compare_evaluations", "report"),
)
_POSITIONS = {name: k for k, name in enumerate(_RULES)}


def rule_costs(run: RunFolder) -> list[dict[Hashable, Any]]:
    """Rows of the time table, in the order of the pipeline.

    Returns:
        What `read_benchmarks` has of each, with gpu_hours and cpu_hours, of which one is None: jobs
        with GPUs cost those that they ask for, for as long as they ran.
    """
    config = config_of(run)
    rows = [{**row, **_hours(row, config)} for row in run.benchmarks.to_dict("records")]
    last = len(_POSITIONS)
    return sorted(
        rows,
        key=lambda row: (_POSITIONS.get(row["rule"], last), row["rule"], natural(row["stage"])),
    )


def cost_tile(rows: Sequence[Mapping[Hashable, Any]]) -> Tile:
    """The hours of all rules together."""
    gpu, cpu = (
        sum(row[name] for row in rows if row[name] is not None)
        for name in ("gpu_hours", "cpu_hours")
    )
    if not gpu:
        return Tile("CPU hours", quantities.number(cpu))
    return Tile(
        "GPU hours", quantities.number(gpu), f"and {quantities.number(cpu)} CPU hours without one"
    )


def _hours(row: Mapping[Hashable, Any], config: Mapping[str, Any]) -> dict[str, float | None]:
    rule = row["rule"]
    if rule == "sample" and config.get("sample", {}).get("num_jobs", 1) > 1:
        rule = "report"  # it joins what the jobs of sample_part made, and asks for as little
    if gpus := gpus_of(config, rule, row["stage"]):
        return {"gpu_hours": row["seconds"] * gpus / HOUR_S, "cpu_hours": None}
    seconds = row["cpu_time"] + row["unmeasured"] * threads_of(config, rule)
    return {"gpu_hours": None, "cpu_hours": seconds / HOUR_S}
