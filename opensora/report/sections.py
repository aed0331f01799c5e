"""Turn what was read from a run folder into what the template shows."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from opensora.report import quantities
from opensora.report.collect import ATTRIBUTES, MILESTONE, RunFolder, StageFolder
from opensora.report.figures import Series, histogram, line_chart
from opensora.tables.columns import FACTS, ID, MANIFEST, NUM_CAPTIONS

COLUMNS = (*ATTRIBUTES, "all")  # of the evaluation table
_SMOOTHING = 30  # steps of the running mean where a log has no loss_ema
_NOT_CURVES = {"step", "epoch", "seconds", "loss_ema", "bucket", "tokens", "samples"}
_SHOWN_REJECTED = 200


@dataclass(frozen=True)
class Tile:
    """One key figure of the header."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """One chart with its title, legend entries (style, name) and a remark."""

    title: str
    svg: Markup
    legend: tuple[tuple[str, str], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class EvaluationRow:
    """One row of the evaluation table; a cell is None where nothing was measured."""

    label: str
    note: str
    cells: tuple[dict[str, Any] | None, ...]


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


def training_curves(metrics: pd.DataFrame) -> list[Figure]:
    """Draw loss, gradient norm and learning rate of one training stage."""
    if "step" not in metrics:
        return []
    steps = metrics["step"].astype(float)
    figures = []
    if "loss" in metrics:
        loss = metrics["loss"].astype(float)
        smooth = metrics["loss_ema"] if "loss_ema" in metrics else loss.ewm(span=_SMOOTHING).mean()
        series = [
            Series("each step", steps, loss, "faint"),
            Series("running mean", steps, smooth.astype(float)),
        ]
        last = quantities.number(float(smooth.iloc[-1]))
        legend = (("faint", "each step"), ("main", "running mean"))
        svg = line_chart(series, label="loss over steps")
        figures.append(Figure("Loss", svg, legend, f"{last} at the end"))
    for column, title, style in (
        ("grad_norm", "Gradient norm", "second"),
        ("lr", "Learning rate", "third"),
    ):
        if column in metrics and metrics[column].notna().any():
            values = metrics[column].astype(float)
            series = [Series(title, steps, values, style)]
            is_log = column != "lr"  # a warm-up from zero is no reason to bend the schedule
            svg = line_chart(series, label=f"{title} over steps", may_be_log=is_log)
            note = f"at most {quantities.number(float(values.max()))}"
            figures.append(Figure(title, svg, note=note))
    return [figure for figure in figures if figure.svg]


def resume_checks(certificate: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What a certificate says of resuming a stage; empty where nobody has asked for one."""
    return [] if certificate is None else list(certificate["checks"])


def small_model_curves(metrics: pd.DataFrame) -> list[Figure]:
    """Draw every number that the training of a small model logged, one chart each."""
    if "step" not in metrics:
        return []
    figures = []
    # the loss first, the others in the order they were logged
    for column in sorted(metrics.select_dtypes("number"), key=lambda name: name != "loss"):
        if column in _NOT_CURVES or metrics[column].notna().sum() < 2:
            continue
        known = metrics[metrics[column].notna()]
        title = quantities.words(str(column))
        series = [Series(str(column), known["step"], known[column])]
        svg = line_chart(series, label=f"{title} over steps")
        note = f"{quantities.number(float(known[column].iloc[-1]))} at the end"
        figures.append(Figure(title, svg, note=note))
    return [figure for figure in figures if figure.svg]


def trained_on_words(seen: dict[str, Any]) -> str:
    """What an encoder saw, as "880 clips, listing 1f2e3d4c5b6a"; "" where nobody wrote it down."""
    counts = [f"{count:,} {kind}" for kind, count in seen.items() if kind != "listing"]
    return ", ".join([*counts, f"listing {seen['listing']}"]) if counts else ""


def score_histograms(run: RunFolder) -> list[Figure]:
    """Draw each score over all scored clips and over those in the manifest."""
    frame = run.manifest
    known = {*MANIFEST.columns, *FACTS, NUM_CAPTIONS}
    figures = []
    kept_ids = set(frame[ID])
    if len(frame):
        lengths = (frame["end"] - frame["start"]).dropna()
        if len(lengths):
            figures.append(_histogram("clip length (s)", lengths, pd.Series(dtype=float)))
    columns = [name for name in frame.select_dtypes("number") if name not in known]
    for name in dict.fromkeys([*run.scores, *columns]):
        scored = run.scores.get(str(name), pd.Series(dtype=float))
        kept = frame[name] if name in frame else scored[scored.index.isin(kept_ids)]
        figures.append(_histogram(quantities.words(str(name)), kept, scored))
    return [figure for figure in figures if figure.svg]


def _histogram(title: str, kept: pd.Series, scored: pd.Series) -> Figure:
    svg = histogram(kept.to_numpy(float), scored.to_numpy(float), label=f"histogram of {title}")
    legend = (("kept", "kept"), ("all", "rejected")) if len(scored) else ()
    note = (
        f"median {quantities.number(float(kept.median()))}" if kept.notna().any() else "none kept"
    )
    return Figure(title, svg, legend, note)


def rejected_summary(run: RunFolder) -> list[dict[str, Any]]:
    """Count rejected rows per stage and reason, with one detail as an example."""
    if run.rejected.empty:
        return []
    groups = run.rejected.groupby(["stage", "reason"], sort=False)
    return [
        {"stage": stage, "reason": reason, "rows": len(rows), "example": rows["detail"].iloc[0]}
        for (stage, reason), rows in groups
    ]


def rejected_files(run: RunFolder) -> tuple[list[dict[Hashable, Any]], int]:
    """The first rejected rows, and how many more there are."""
    shown = run.rejected.head(_SHOWN_REJECTED).to_dict("records")
    return shown, len(run.rejected) - len(shown)


def evaluation_rows(stage: StageFolder) -> list[EvaluationRow]:
    """Rows of the evaluation table: samples by split, then the ceilings above them."""
    rows = []
    for split, scores in metric(stage, "prompt_following").get("splits", {}).items():
        note = f"{scores['num_samples']:,} samples"
        rows.append(EvaluationRow(f"Samples, {split_words(split)}", note, _cells(scores)))
    reconstruction = metric(stage, "reconstruction")
    for split, scores in sorted(reconstruction.get("splits", {}).items(), reverse=True):
        for key, label in (("real", "Real clips"), ("reconstructed", "VAE reconstructions")):
            if key in scores:
                rows.append(
                    EvaluationRow(
                        f"{label}, {split}", f"{scores['num_clips']:,} clips", _cells(scores[key])
                    )
                )
    return rows


def _cells(scores: dict[str, Any]) -> tuple[dict[str, Any] | None, ...]:
    return tuple(
        scores[name] if scores.get(name, {}).get("accuracy") is not None else None
        for name in COLUMNS
    )


def confusions(stage: StageFolder) -> list[tuple[str, str, dict[str, Any]]]:
    """Confusion tables of the samples: (split, attribute, table)."""
    splits = metric(stage, "prompt_following").get("splits", {})
    return [
        (split_words(split), name, table)
        for split, scores in splits.items()
        for name in ATTRIBUTES
        if (table := scores["confusion"][name])["counts"]
    ]


def stage_times(benchmarks: pd.DataFrame, order: Iterable[str]) -> list[dict[Hashable, Any]]:
    """Rows of the time table in the order of the pipeline, each with its share of the longest."""
    if benchmarks.empty:
        return []
    position = {name: k for k, name in enumerate(order)}
    rows = sorted(
        benchmarks.to_dict("records"),
        key=lambda row: (position.get(row["rule"], len(position)), row["rule"]),
    )
    top = max(row["seconds"] for row in rows) or 1.0
    return [{**row, "share": row["seconds"] / top} for row in rows]


def metric(stage: StageFolder, name: str) -> dict[str, Any]:
    """Result of one metric of a stage; empty when it did not run."""
    return (stage.evaluation or {}).get("metrics", {}).get(name, {})


def _last(metrics: pd.DataFrame, column: str) -> float:
    return float(metrics[column].dropna().iloc[-1]) if column in metrics else 0.0
