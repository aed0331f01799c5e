"""Fill the template: one HTML file that needs no network."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from opensora import __version__
from opensora.core.io import write_text
from opensora.core.text import visible
from opensora.report import quantities, sections
from opensora.report.collect import MILESTONE, RunFolder, StageFolder, collect
from opensora.report.facts import bucket_table, latent_rows, latent_warnings, psnr_facts
from opensora.report.footage import flow
from opensora.report.gallery import Budget, cards, montages
from opensora.report.seen import Seen, seen_chart, seen_lines
from opensora.report.watched import watched_curves

_MEGABYTE = 1_000_000
_SECTIONS = ("Samples", "Evaluation", "Footage", "Clips", "Buckets", "Encoders", "Training")
_MODEL_NAMES = {"vae": "VAE", "clip": "CLIP", "text_encoder": "Text encoder"}

# rules in the order of the pipeline
RULES = (
    *("make_demo", "ingest_videos", "detect_scenes", "split_clips", "caption_clips"),
    *(
        "score_clips",
        "train_clip",
        "score_captions",
        "build_manifest",
        "assign_buckets",
        "train_vae",
    ),
    *("train_text_encoder", "encode_videos", "encode_captions", "settle_plan", "train", "sample"),
    *("evaluate", "report"),
)


def write_report(
    run_dir: str | Path,
    output: str | Path,
    *,
    benchmarks: str | Path | None = None,
    embed_mb: float = 24.0,
) -> str:
    """Write the report of a run.

    Args:
        run_dir: `results/{run}`; missing parts become one-line remarks on the page.
        output: the HTML file.
        benchmarks: Snakemake's benchmark folder.
        embed_mb: megabytes of samples to embed; the rest is linked relative to `output`.

    Returns:
        A summary line.

    Raises:
        OpenSoraError: there is no such run folder, or a file in it is damaged.
    """
    run = collect(run_dir, benchmarks)
    page = render(run, Path(output).parent, embed_mb=embed_mb)
    write_text(output, page)
    shown = sum(len(stage.samples) for stage in run.stages)
    return f"{output}: {len(page) / _MEGABYTE:.1f} MB, {shown} samples, {len(run.stages)} stages"


def render(run: RunFolder, page_dir: Path, *, embed_mb: float) -> str:
    """Return the page of a run as text; `page_dir` is where relative links start."""
    budget = Budget(int(embed_mb * _MEGABYTE))
    galleries = _galleries(run, page_dir, budget)
    every_card = [card for gallery in galleries for card in gallery["cards"]]
    files, more = sections.rejected_files(run)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            version=__version__,
            sections=[(name.lower(), name) for name in (*_SECTIONS, "Time", "Configuration")],
            tiles=sections.tiles(run),
            galleries=galleries,
            has_verdicts=any(card.chips for card in every_card),
            linked=sum(1 for card in every_card if card.url and not card.url.startswith("data:")),
            attributes=sections.COLUMNS,
            evaluations=[_evaluation(stage) for stage in reversed(run.stages) if stage.evaluation],
            flow=flow(run.funnel),
            footage_top=max((stage.seconds_in for stage in run.funnel), default=0.0) or 1.0,
            seen=_seen(run),
            rejected=sections.rejected_summary(run),
            rejected_files=files,
            rejected_more=more,
            histograms=sections.score_histograms(run),
            buckets=[bucket_table(s.name, s.buckets) for s in run.stages if s.buckets],
            psnr=psnr_facts(run.psnr) if run.psnr else None,
            model_curves=_model_curves(run),
            doctors=[
                (
                    s.name,
                    latent_rows(s.doctor),
                    latent_warnings(s.doctor),
                    montages(s, page_dir, budget),
                )
                for s in run.stages
                if s.doctor
            ],
            training=_training(run),
            times=sections.stage_times(run.benchmarks, RULES),
        )
    )


def _environment() -> jinja2.Environment:
    """Everything is escaped and no text turns a line: captions and names come from strangers."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("opensora.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
    )
    environment.filters |= {
        "seconds": quantities.seconds,
        "number": quantities.number,
        "percent": quantities.percent,
        "words": quantities.words,
        "split_words": sections.split_words,
        "attribute": lambda name: "all three" if name == "all" else name,
        "mebibytes": quantities.mebibytes,
        "decibels": quantities.decibels,
    }
    return environment


def _visible(value: Any) -> Any:
    """Text with its control and direction characters shown; drawings (Markup) are done already."""
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return visible(value, keep="\n\t") if is_text else value


def _galleries(run: RunFolder, page_dir: Path, budget: Budget) -> list[dict[str, Any]]:
    """Samples of every stage, the last stage first: it is the one people came for."""
    return [
        {
            "name": stage.name,
            "total": len(stage.samples),
            "cards": cards(stage, page_dir, budget),
        }
        for stage in reversed(run.stages)
        if len(stage.samples)
    ]


def _evaluation(stage: StageFolder) -> dict[str, Any]:
    evaluation = stage.evaluation or {}
    splits = sections.metric(stage, "reconstruction").get("splits", {})
    return {
        "name": stage.name,
        "num_samples": evaluation["num_samples"],
        "num_prompts": evaluation["num_prompts"],
        "rows": sections.evaluation_rows(stage),
        "clipsim": sections.metric(stage, "clipsim"),
        "psnr": [(s, v["psnr"]) for s, v in splits.items() if v["psnr"]["n"]],
        "confusions": sections.confusions(stage),
        "skipped": sorted(evaluation["skipped"].items()),
    }


def _model_curves(run: RunFolder) -> list[tuple[str, str, list[sections.Figure]]]:
    curves = [
        (
            f"{_MODEL_NAMES[name]} training",
            sections.trained_on_words(run.trained_on[name]),
            sections.small_model_curves(metrics),
        )
        for name, metrics in run.models.items()
    ]
    return [curve for curve in curves if curve[2]]


def _seen(run: RunFolder) -> list[dict[str, Any]]:
    """The ledger of every stage: a chart, its lines, and what could not be read."""
    stages = []
    for stage in run.stages:
        if stage.ledger is not None:
            lines: list[Seen] = seen_lines(stage.ledger)
            label = f"Footage of {stage.name}: seen so many times, or never seen because"
            pairs = Counter(zip(stage.rejected["stage"], stage.rejected["reason"], strict=True))
            stages.append(
                {
                    "name": stage.name,
                    "chart": seen_chart(lines, label=label),
                    "lines": lines,
                    "clips": stage.ledger["total"]["clips"],
                    "rejected": [(*pair, count) for pair, count in sorted(pairs.items())],
                }
            )
    return stages


def _training(run: RunFolder) -> list[dict[str, Any]]:
    stages = []
    trained = {stage.name for stage in run.stages if len(stage.metrics)}
    for stage in run.stages:
        if stage.name.partition(MILESTONE)[0] in trained - {stage.name}:
            continue  # its curve is the beginning of that of its stage
        figures = [*sections.training_curves(stage.metrics), *watched_curves(stage.metrics)]
        if figures:
            steps = int(stage.metrics["step"].max())
            note = f"{steps:,} steps"
            if "samples_per_s" in stage.metrics:
                rate = float(stage.metrics["samples_per_s"].median())
                note += f", {quantities.number(rate)} samples per second"
            if ended := sections.ended_by_hand(stage.metrics):
                note += f", {ended}"
            if gaps := sections.lost_lines(stage.metrics):
                note += f"; {gaps}"
            stages.append(
                {
                    **{"name": stage.name, "note": note, "figures": figures},
                    "resume": sections.resume_checks(stage.certificate),
                }
            )
    return stages
