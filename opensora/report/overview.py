"""What ran: key figures, stages with their hashes, code, configuration, and what each rule took."""

from __future__ import annotations

from typing import Any

from opensora import __version__
from opensora.config.job_requests import gpus_of
from opensora.core.versions import VERSIONS
from opensora.report import sections
from opensora.report.collect import MILESTONE, RunFolder, StageFolder
from opensora.report.costs import HOUR_S, cost_tile, rule_costs
from opensora.report.history import config_of, short_hash
from opensora.report.media import Media


def overview(run: RunFolder, media: Media) -> dict[str, Any]:
    """Data of the first section."""
    config = run.configs.get("config.yaml")
    tiles, costs = sections.tiles(run), rule_costs(run)
    if costs:
        tiles.append(cost_tile(costs))
    return {
        "run": run.name,
        "version": __version__,
        "versions": VERSIONS,
        "config": short_hash(config) if config is not None else "",
        "tiles": [vars(tile) for tile in tiles],
        "stages": [_stage(stage, run) for stage in run.stages],
        "times": costs,
        "configs": run.configs,
    }


def _stage(stage: StageFolder, run: RunFolder) -> dict[str, Any]:
    """One stage of training: its numbers, the hashes of what decided it, its certificate."""
    metrics = stage.metrics
    seconds = metrics["seconds"].max() if "seconds" in metrics else None
    config = run.configs.get(f"train/{stage.name}/config.py")
    gpus = gpus_of(config_of(run), "train", stage.name)
    return {
        "name": stage.name,
        "milestone": MILESTONE in stage.name,
        "steps": int(metrics["step"].max()) if "step" in metrics and len(metrics) else None,
        "seconds": seconds,
        "gpu_hours": seconds * gpus / HOUR_S if seconds and gpus else None,
        "samples": len(stage.samples),
        "config": short_hash(config) if config is not None else "",
        "plan": str((stage.buckets or {}).get("hash", ""))[:12],
        "certificate": sections.resume_checks(stage.certificate),
    }
