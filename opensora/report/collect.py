"""Read a run folder; whatever is not there yet stays empty, and the page says so."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.core.errors import OpenSoraError
from opensora.core.io import read_json
from opensora.core.seal import is_as_sealed
from opensora.report.footage.funnel import FunnelStage, parse_funnel_stage
from opensora.tables.columns import ID, MANIFEST, OK, REJECTED, SAMPLES, SHARD, STATUS, Table
from opensora.tables.io import read_table
from opensora.tables.manifest import read_manifest
from opensora.tables.parquet import read_metadata

log = logging.getLogger(__name__)

ATTRIBUTES = ("colour", "shape", "direction")  # what the detector of the demo world looks at
# encoder that a run trains itself -> the file that says how good it is, and what it saw
SMALL_MODELS = {"vae": "psnr.json", "clip": "retrieval.json", "text_encoder": "words.json"}
MILESTONE = "@"  # in the name of a part of a stage
_INDEX_METADATA = b"opensora_store"  # as stores/index.py writes it
_GATES = "store/latents"  # what runs share; of it a report shows the gate's pictures
# rules with a job, or several, for each stage of training
_OF_STAGES = frozenset(
    {"assign_buckets", "settle_plan", "train", "certify_resume", "sample_part", "sample"}
    | {"evaluate"}
)
# columns of the times of jobs -> how those of several are one
_SUMMED = {"jobs": "sum", "seconds": "sum", "longest": "max", "memory": "max"}
_SUMMED |= {"cpu_time": "sum", "unmeasured": "sum"}
_CONFIG_SUFFIXES = {".py", ".yaml", ".yml", ".json"}


@dataclass(frozen=True)
class StageFolder:
    """What one training stage left behind.

    Attributes:
        name: stage.
        buckets: `buckets/{name}/summary.json`.
        ledger: `buckets/{name}/ledger.json`.
        rejected: `buckets/{name}/rejected.csv`, and `train/{name}/rejected.csv` behind it.
        metrics: `train/{name}/metrics.jsonl`, one row per logged step.
        certificate: `train/{name}/certificate.json`, of `opensora train --verify-resume`.
        samples: `samples/{name}/samples.csv`, paths still relative to `samples_dir`.
        samples_dir: folder of that table.
        evaluation: `evaluation/{name}.json`.
        doctor: shard -> what the gate found, from its index `latents/{name}/{shard}.parquet`.
        latents_dir: `latents/{name}`, from which the gate names its pictures.
        places: the run's folder and the latents that runs share, resolved; only files below them
            are shown.
    """

    name: str
    buckets: dict[str, Any] | None
    ledger: dict[str, Any] | None
    rejected: pd.DataFrame
    metrics: pd.DataFrame
    certificate: dict[str, Any] | None
    samples: pd.DataFrame
    samples_dir: Path
    evaluation: dict[str, Any] | None
    doctor: dict[str, Any]
    latents_dir: Path
    places: tuple[Path, ...]


@dataclass(frozen=True)
class RunFolder:
    """Everything the report shows, as read; `kept`, `corrections`, `replies` as in funnel.json."""

    root: Path
    name: str
    funnel: list[FunnelStage]
    kept: dict[str, Any]
    corrections: dict[str, Any]
    replies: dict[str, Any]
    manifest: pd.DataFrame
    rejected: pd.DataFrame
    scores: dict[str, pd.Series]
    stages: list[StageFolder]
    models: dict[str, pd.DataFrame]
    psnr: dict[str, Any] | None
    trained_on: dict[str, dict[str, Any]]
    benchmarks: pd.DataFrame
    configs: dict[str, str] = field(default_factory=dict)


def collect(run_dir: str | Path, benchmarks: str | Path | None = None) -> RunFolder:
    """Read the run folder.

    Args:
        run_dir: `results/{run}`.
        benchmarks: Snakemake's benchmark folder.

    Raises:
        OpenSoraError: there is no such folder, or a file in it is damaged.
    """
    root = Path(run_dir)
    if not root.is_dir():
        raise OpenSoraError(f"{root}: no such run folder; expected results/RUN of a pipeline run")
    names = {p.name for kind in ("train", "samples", "buckets") for p in _folders(root / kind)}
    names |= {p.stem for p in (root / "evaluation").glob("*.json")}
    funnel = _json(root / "funnel.json") or {}
    return RunFolder(
        root=root,
        name=root.resolve().name,
        funnel=[parse_funnel_stage(entry) for entry in funnel.get("stages", [])],
        kept=funnel.get("kept", {}),
        corrections=funnel.get("corrections", {}),
        replies=funnel.get("replies", {}),
        manifest=_manifest(root / "manifest"),
        rejected=_table(root / "rejected.csv", REJECTED),
        scores=_scores(root / "scores"),
        stages=[_stage(root, name) for name in sorted(names, key=stage_order)],
        models={
            name: read_metrics(path)
            for name in SMALL_MODELS
            if (path := root / "models" / name / "metrics.jsonl").is_file()
        },
        psnr=_json(root / "models" / "vae" / "psnr.json"),
        trained_on={
            name: (_json(root / "models" / name / file) or {}).get("trained_on", {})
            for name, file in SMALL_MODELS.items()
        },
        benchmarks=read_benchmarks(Path(benchmarks), root.resolve().name)
        if benchmarks
        else pd.DataFrame(),
        configs=_configs(root),
    )


def natural(name: str) -> list[Any]:
    """Sort key that puts `stage10` behind `stage9`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def stage_order(name: str) -> tuple[list[Any], float]:
    """Sort key that puts the milestones of a stage, as `stage1@100`, before its end."""
    stage, _, step = name.partition(MILESTONE)
    return natural(stage), float(step) if step.isdigit() else math.inf


def read_metrics(path: Path) -> pd.DataFrame:
    """Read a metrics.jsonl; an unfinished last line of a running job is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            log.warning("report file=%s skipped one unreadable line", path)
            continue
        if isinstance(row, dict):
            rows.append(row)
    return pd.DataFrame(rows)


def read_benchmarks(folder: Path, run: str) -> pd.DataFrame:
    """Sum Snakemake's benchmark files per rule, and per stage where there are some.

    Args:
        folder: holds `{rule}/{run}/**/*.tsv`; files right below the rule belong to any run.
        run: name of the run; those of others do not count.

    Returns:
        One row per rule and stage: rule, stage ("" of rules without; milestones count to theirs),
        jobs, seconds (sum), longest (s), memory (peak RSS, MiB), cpu_time (s of all processors),
        unmeasured (seconds of jobs whose cpu_time is not known, as of very short ones).
    """
    rows = []
    for file in sorted(folder.rglob("*.tsv")):
        parts = file.relative_to(folder).with_suffix("").parts
        if len(parts) > 2 and parts[1] != run:
            continue
        frame = pd.read_csv(file, sep="\t", na_values=["-"])
        if "s" not in frame:
            log.warning("report file=%s is not a benchmark file", file)
            continue
        found = frame.reindex(columns=["s", "max_rss", "cpu_time"])
        rows.append(
            {
                **{"rule": parts[0], "stage": _stage_of(parts), "jobs": len(found)},
                **{"seconds": found["s"].sum(), "longest": found["s"].max()},
                **{"memory": found["max_rss"].max(), "cpu_time": found["cpu_time"].sum()},
                "unmeasured": found["s"][found["cpu_time"].isna()].sum(),
            }
        )
    table = pd.DataFrame(rows, columns=["rule", "stage", *_SUMMED])
    return table.groupby(["rule", "stage"], as_index=False, sort=False).agg(_SUMMED)


def _stage_of(record: Sequence[str]) -> str:
    """The stage of a record rule/run/stage, /stage@step of a milestone, or /stage.part."""
    if len(record) < 3 or record[0] not in _OF_STAGES:
        return ""
    return record[2].partition(".")[0].partition(MILESTONE)[0]


def _stage(root: Path, name: str) -> StageFolder:
    metrics = root / "train" / name / "metrics.jsonl"
    indexes = sorted((root / "latents" / name).glob("[0-9]*.parquet"))
    return StageFolder(
        name=name,
        buckets=_json(root / "buckets" / name / "summary.json"),
        ledger=_json(root / "buckets" / name / "ledger.json"),
        rejected=pd.concat(
            [_table(root / kind / name / "rejected.csv", REJECTED) for kind in ("buckets", "train")]
        ),
        metrics=read_metrics(metrics) if metrics.is_file() else pd.DataFrame(),
        certificate=_json(root / "train" / name / "certificate.json"),
        samples=_table(root / "samples" / name / "samples.csv", SAMPLES),
        samples_dir=root / "samples" / name,
        evaluation=_json(root / "evaluation" / f"{name}.json"),
        doctor={path.stem: _gate(path) for path in indexes},
        latents_dir=root / "latents" / name,
        places=(root.resolve(), (root.resolve().parent / _GATES).resolve()),
    )


def _gate(index: Path) -> dict[str, Any]:
    """What the gate found on the latents of one shard.

    Raises:
        OpenSoraError: the file is no index of a store.
    """
    try:
        found: dict[str, Any] = json.loads(read_metadata(index)[_INDEX_METADATA])["gate"]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise OpenSoraError(
            f"{index}: not a readable index of a store; delete it and run encode_videos again"
        ) from error
    return found


def _scores(folder: Path) -> dict[str, pd.Series]:
    """Scores of all clips, also of those that were rejected later: column -> values by id."""
    columns: dict[str, list[pd.Series]] = {}
    for shard in sorted(folder.glob("*/*.parquet")):
        frame = read_table(shard)
        if STATUS in frame:
            frame = frame[frame[STATUS] == OK]
        for name in frame.select_dtypes("number"):
            columns.setdefault(str(name), []).append(frame.set_index(ID)[name])
    return {name: pd.concat(parts) for name, parts in columns.items()}


def _configs(root: Path) -> dict[str, str]:
    """Configurations saved beside the run: file name relative to the run -> text."""
    files = [p for p in root.glob("*") if p.suffix in {".yaml", ".yml"} or p.name == "config.json"]
    files += [p for p in root.glob("train/*/config.*") if p.suffix in _CONFIG_SUFFIXES]
    files += [p for p in root.glob("models/*/config.py")]
    ordered = sorted(files, key=lambda p: natural(str(p.relative_to(root))))
    inside = root.resolve()
    return {
        str(p.relative_to(root)): p.read_text(encoding="utf-8", errors="replace")
        if p.resolve().is_relative_to(inside)
        else "not shown: outside the run"
        for p in ordered
        if p.is_file()
    }


def _folders(folder: Path) -> Iterable[Path]:
    return (p for p in folder.glob("[!.]*") if p.is_dir())


def _json(path: Path) -> dict[str, Any] | None:
    found = read_json(path) if path.is_file() else None
    if isinstance(found, dict) and not is_as_sealed(found):
        raise OpenSoraError(f"{path}: is not what was written; remove it and run its rule again")
    return found


def _table(path: Path, table: Table) -> pd.DataFrame:
    return read_table(path, table) if path.is_file() else pd.DataFrame(columns=[*table.columns])


def _manifest(folder: Path) -> pd.DataFrame:
    if not folder.is_dir():
        return pd.DataFrame(columns=[*MANIFEST.columns])
    return read_manifest(folder).drop(columns=SHARD)  # no score
