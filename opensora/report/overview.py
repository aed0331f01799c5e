"""What ran: key figures, stages with their hashes, code, configuration, and what each rule took."""

from __future__ import annotations

from typing import Any

from opensora import __version__
from opensora.core.versions import VERSIONS
from opensora.report import sections
from opensora.report.collect import MILESTONE, RunFolder, StageFolder
from opensora.report.history import settings_of, short_hash
from opensora.report.media import Media

_HOUR_S = 3600.0

# rules in the order of the pipeline
RULES = (
    *("make_demo", "fetch", "ingest_videos", "detect_scenes", "split_clips", "caption_clips"),
    *("score_clips", "train_clip", "score_captions", "index_tables", "build_manifest"),
    "assign_buckets",
    *("train_vae", "train_text_encoder", "encode_videos", "encode_captions", "settle_plan"),
    *("train", "sample", "evaluate", "report"),
)


def overview(run: RunFolder, media: Media) -> dict[str, Any]:
    """Data of the first section."""
    config = run.configs.get("config.yaml")
    gpus = _gpus(run)
    return {
        "run": run.name,
        "version": __version__,
        "versions": VERSIONS,
        "config": short_hash(config) if config is not None else "",
        "tiles": [vars(tile) for tile in sections.tiles(run)],
        "stages": [_stage(stage, run, gpus.get(stage.name, 0)) for stage in run.stages],
        "times": sections.stage_times(run.benchmarks, RULES),
        "configs": run.configs,
    }


def _stage(stage: StageFolder, run: RunFolder, gpus: int) -> dict[str, Any]:
    """One stage of training: its numbers, the hashes of what decided it, its certificate."""
    metrics = stage.metrics
    seconds = metrics["seconds"].max() if "seconds" in metrics else None
    config = run.configs.get(f"train/{stage.name}/config.py")
    return {
        "name": stage.name,
        "milestone": MILESTONE in stage.name,
        "steps": int(metrics["step"].max()) if "step" in metrics and len(metrics) else None,
        "seconds": seconds,
        "gpu_hours": seconds * gpus / _HOUR_S if seconds and gpus else None,
        "samples": len(stage.samples),
        "config": short_hash(config) if config is not None else "",
        "plan": str((stage.buckets or {}).get("hash", ""))[:12],
        "certificate": sections.resume_checks(stage.certificate),
    }


def _gpus(run: RunFolder) -> dict[str, int]:
    """GPUs of each stage, of all its nodes together, as the workflow's config has them."""
    settings = dict(settings_of(run))
    gpus = {}
    for path, name in settings.items():
        if path.startswith("stages.") and path.endswith(".name"):
            place = path.removesuffix("name")
            nodes, each = settings.get(f"{place}nodes", 1), settings.get(f"{place}gpus", 0)
            if isinstance(nodes, int) and isinstance(each, int):
                gpus[str(name)] = nodes * each
    return gpus
