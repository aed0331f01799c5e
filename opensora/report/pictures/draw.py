"""Write the pictures of a run as files that stand alone, in the light colours of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from opensora.core.io import atomic_path, write_text
from opensora.report.collect import MILESTONE, RunFolder
from opensora.report.pictures.curves import (
    Figure,
    score_histograms,
    small_model_curves,
    training_curves,
)
from opensora.report.pictures.flow import flow
from opensora.report.pictures.intervals import interval_figures
from opensora.report.pictures.seen_chart import seen_chart
from opensora.report.pictures.watched import watched_curves
from opensora.report.seen import seen_lines

_VARIABLE = re.compile(r"var\((--[a-z-]+)\)")
_SETTING = re.compile(r"(--[a-z-]+): (#[0-9a-f]+);")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9@.]+")


def write_pictures(run: RunFolder, folder: Path) -> int:
    """Draw what has data: `{category}/{picture}.svg`; an older folder is replaced.

    Returns:
        How many there are.
    """
    colours = _colours()
    count = 0
    with atomic_path(folder, folder=True) as made:
        for category, figure in _figures(run):
            svg = _VARIABLE.sub(lambda found: colours[found[1]], str(figure.svg))
            style = f'<svg style="background: {colours["--surface"]}; font-family: sans-serif" '
            svg = svg.replace("<svg ", style, 1)
            write_text(made / category / f"{_name(figure.title)}.svg", svg)
            count += 1
    return count


def _figures(run: RunFolder) -> Iterator[tuple[str, Figure]]:
    """Category and figure of everything that can be drawn."""
    if run.funnel:
        yield "Curation", Figure("Footage kept and lost", flow(run.funnel))
    for figure in score_histograms(run):
        yield "Curation", figure
    for stage in run.stages:
        if stage.ledger and (lines := seen_lines(stage.ledger)):
            label = f"Footage of {stage.name}: seen so many times, or never seen because"
            yield "Buckets", Figure(f"{stage.name} footage seen", seen_chart(lines, label=label))
    for name, metrics in run.models.items():
        for figure in small_model_curves(metrics):
            yield "Encoders", Figure(f"{name} {figure.title}", figure.svg)
    trained = [stage for stage in run.stages if len(stage.metrics)]
    for stage in trained:
        if MILESTONE not in stage.name:  # whose curve is the beginning of that of its stage
            for figure in (*training_curves(stage.metrics), *watched_curves(stage.metrics)):
                yield "Training", Figure(f"{stage.name} {figure.title}", figure.svg)
    for figure in interval_figures(run.stages):
        yield "Evaluation", figure


def _colours() -> dict[str, str]:
    """The page's colours in the light: those that stand first."""
    style = (files("opensora.report") / "page/style.css").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for name, value in _SETTING.findall(style):
        found.setdefault(name, value)
    return found


def _name(title: str) -> str:
    return _NOT_IN_NAMES.sub("_", title).strip("_").lower()[:80] or "picture"
