"""Which footage stayed, why the rest did not, and what other rules would leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from opensora.report.collect import RunFolder
from opensora.report.footage.candidates import stage_table
from opensora.report.footage.excerpts import Span, excerpt
from opensora.report.history import config_of
from opensora.report.media import Media
from opensora.tables.columns import ID, SCENES, VIDEOS

_EXAMPLES = 2  # of each reason, with a picture
_SHOWN = 40  # reasons with pictures: each costs about a second
_DETAILS = 200  # rejected rows of a reason that the page lists
# the workflow's settings that decide which clips stay, and what they are where it has none
_RULES: dict[str, Any] = {
    **{"filters": {}, "keep_if": [], "licences": [], "dedup": {}},
    **{"max_clips_per_source": None, "prefer": None},
}
_OWN_RULES = ("filters", "keep_if")  # which a source may have in place of the run's


def curation(run: RunFolder, media: Media) -> dict[str, Any] | None:
    """Data of the section; None before the first table of the footage."""
    if not run.funnel:
        return None
    return {
        "stages": [
            {**vars(stage), "losses": [vars(loss) for loss in stage.losses]} for stage in run.funnel
        ],
        "kept": run.kept,
        "reasons": _reasons(run, media),
        "rules": _rules(config_of(run)),
    }


def _rules(settings: dict[str, Any]) -> dict[str, Any]:
    """The rules of the run, and of each of its sources those that are its own."""
    rules = {name: settings.get(name) or other for name, other in _RULES.items()}
    own = [source for source in settings.get("sources") or [] if isinstance(source, dict)]
    return rules | {
        "sources": {
            str(source.get("name")): {name: source.get(name) or rules[name] for name in _OWN_RULES}
            for source in own
        }
    }


def _reasons(run: RunFolder, media: Media) -> list[dict[str, Any]]:
    """A line for every reason of every stage, with rejected rows and a few pictures."""
    tables = {name: stage_table(run.root, name) for name in ("ingest", "scenes", "clips")}
    lines: list[dict[str, Any]] = []
    for stage in run.funnel:
        for loss in stage.losses:
            rows = run.rejected[
                (run.rejected["stage"] == stage.name) & (run.rejected["reason"] == loss.reason)
            ]
            line = {"stage": stage.name, **vars(loss), "share": 0.0}
            if run.funnel[0].seconds_in:
                line["share"] = loss.seconds / run.funnel[0].seconds_in
            line["rejected"] = rows.head(_DETAILS)[[ID, "path", "detail"]].to_dict("records")
            pictured = rows.head(_EXAMPLES) if len(lines) < _SHOWN else rows.head(0)
            line["examples"] = [
                {**row, **_look(row, tables, run, media)} for row in pictured.to_dict("records")
            ]
            lines.append(line)
    return lines


def _look(
    row: dict[Any, Any], tables: dict[str, pd.DataFrame], run: RunFolder, media: Media
) -> dict[str, Any]:
    """Source, time, poster and player of a rejected row."""
    name = {VIDEOS.rule: "ingest", SCENES.rule: "scenes"}.get(str(row["stage"]), "clips")
    table = tables[name]
    found = table[table[ID] == row[ID]] if len(table) else table
    if found.empty:
        return {"absent": "its row is gone"}
    entry = found.iloc[0]
    videos = tables["ingest"]
    video = videos[videos[ID] == (entry[ID] if name == "ingest" else entry["video_id"])]
    start, end = (0.0, float(entry["duration"])) if name == "ingest" else (entry.start, entry.end)
    source = str(entry["source"] if name == "clips" else entry["path"])
    place = {"source": source, "start": float(start), "end": float(end)}
    if video.empty:
        return {**place, "absent": "its video is gone"}
    facts = video.iloc[0]
    is_cut = name == "clips" and str(entry["path"]) not in ("", source)
    file, facts = (Path(entry["path"]), entry) if is_cut else (Path(facts["path"]), facts)
    shift = float(start) if is_cut else 0.0
    span = Span(
        file=_found(file, run.root),
        start=float(start) - shift,
        end=float(end) - shift,
        fps=float(facts["fps"]),
        num_frames=int(facts["num_frames"]),
        height=int(facts["height"]),
        width=int(facts["width"]),
    )
    return {**place, **excerpt(span, media)}


def _found(file: Path, root: Path) -> Path:
    """A file as tables name it: from where the pipeline was run, `results/` of which is known."""
    if file.is_absolute() or file.is_file():
        return file
    return root.resolve().parent.parent / file
