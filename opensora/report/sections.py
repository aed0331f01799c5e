"""Key figures and sentences about what was read from a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from opensora.report import quantities
from opensora.report.collect import MILESTONE, RunFolder, StageFolder
from opensora.tables.columns import COST, TOKENS


@dataclass(frozen=True)
class Tile:
    """One key figure of the header."""

    label: str
    value: str
    note: str = ""


def tiles(run: RunFolder) -> list[Tile]:
    """Key figures of the run; those without data are left out."""
    result = []
    if run.funnel:
        first, last = run.funnel[0], run.funnel[-1]
        result.append(
            Tile("Footage", quantities.seconds(first.seconds_in), f"{first.rows_in:,} files")
        )
        share = last.seconds_kept / first.seconds_in if first.seconds_in else None
        note = f"{quantities.percent(share)} of the footage" if share is not None else ""
        result.append(Tile("Clips kept", f"{last.rows_kept:,}", note))
    result += _by_others(run)
    # the curve of a milestone is the beginning of that of its stage
    trained = [s for s in run.stages if len(s.metrics) and MILESTONE not in s.name]
    if trained:
        steps = sum(int(stage.metrics["step"].max()) for stage in trained)
        seconds = sum(_last(stage.metrics, "seconds") for stage in trained)
        result.append(Tile("Training steps", f"{steps:,}", quantities.seconds(seconds)))
    samples = [stage for stage in run.stages if len(stage.samples)]
    if samples:
        last_stage = samples[-1]
        note = f"{last_stage.samples['prompt'].nunique():,} prompts"
        result.append(Tile("Samples", f"{len(last_stage.samples):,}", note))
    headline = _headline(run)
    if headline is not None:
        result.append(headline)
    if len(run.benchmarks):
        jobs = int(run.benchmarks["jobs"].sum())
        result.append(
            Tile("Job time", quantities.seconds(run.benchmarks["seconds"].sum()), f"{jobs:,} jobs")
        )
    return result


def _by_others(run: RunFolder) -> list[Tile]:
    """What people corrected, and what captions of a server took."""
    found = []
    if run.corrections:
        note = f"{run.corrections['out']:,} clips marked out"
        if run.corrections["unknown"]:
            note += f", {len(run.corrections['unknown']):,} of clips that are not here"
        captions = run.corrections["captions"]
        found.append(Tile("Captions corrected", f"{captions:,}", note))
    if run.replies:
        asked, written = (int(run.replies[name]) for name in TOKENS)
        cost = f", at a cost of {run.replies[COST]:.2f}" if COST in run.replies else ""
        note = f"{asked:,} of requests, {written:,} of replies{cost}"
        found.append(Tile("Caption tokens", f"{asked + written:,}", note))
    return found


def _headline(run: RunFolder) -> Tile | None:
    """Prompt following of the last evaluated stage, on held-out prompts where there are any."""
    for stage in reversed(run.stages):
        splits = metric(stage, "prompt_following").get("splits", {})
        if not splits:
            continue
        split = "heldout" if "heldout" in splits else sorted(splits)[0]
        score = splits[split]["all"]
        note = f"{split_words(split)}, chance {quantities.percent(score['chance'])}"
        return Tile("Prompts followed", quantities.percent(score["accuracy"]), note)
    return None


def split_words(split: str) -> str:
    """Write the name of a prompt split as words."""
    return {"heldout": "held-out prompts", "seen": "seen prompts"}.get(split, split)


def ended_by_hand(metrics: pd.DataFrame) -> str:
    """Say where somebody ended a stage before its end; nothing where it went on to it."""
    last = metrics.iloc[-1].get("ended_by_hand")
    return f"ended by hand at {last}" if isinstance(last, str) else ""


def lost_lines(metrics: pd.DataFrame) -> str:
    """Say where a metrics.jsonl lacks lines, which come at even steps; nothing where it is whole.

    A stopped run wrote lines between, so two lines are never further apart than most are.
    """
    steps = metrics["step"].dropna().astype(int)
    if not len(steps):
        return ""
    apart = steps.diff().fillna(steps.iloc[0]).astype(int)
    usual = int(apart.iloc[1:].mode().max()) if len(steps) > 1 else int(steps.iloc[0])
    wide = apart > usual
    holes = [f"{step - gap} and {step}" for step, gap in zip(steps[wide], apart[wide], strict=True)]
    return f"metrics.jsonl has lost lines between steps {', '.join(holes)}" if holes else ""


def resume_checks(certificate: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What a certificate says of resuming a stage; empty where nobody has asked for one."""
    return [] if certificate is None else list(certificate["checks"])


def trained_on_words(seen: dict[str, Any]) -> str:
    """What an encoder saw, as "880 clips, listing 1f2e3d4c5b6a"; "" where nobody wrote it down."""
    counts = [f"{count:,} {kind}" for kind, count in seen.items() if kind != "listing"]
    return ", ".join([*counts, f"listing {seen['listing']}"]) if counts else ""


def metric(stage: StageFolder, name: str) -> dict[str, Any]:
    """Result of one metric of a stage; empty when it did not run."""
    return (stage.evaluation or {}).get("metrics", {}).get(name, {})


def _last(metrics: pd.DataFrame, column: str) -> float:
    return float(metrics[column].dropna().iloc[-1]) if column in metrics else 0.0
