"""Which footage stayed, why the rest did not, and what other rules would leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from opensora.report.collect import RunFolder
from opensora.report.footage.candidates import (
    candidates,
    columns_of,
    stage_table,
    with_corrections,
)
from opensora.report.footage.excerpts import Span, excerpt
from opensora.report.media import Media
from opensora.report.script import packed
from opensora.tables.columns import FACTS, ID, SCENES, VIDEOS

_SELECTING = "build_manifest"
_MARKED_OUT = "marked_out"  # no rule of the page can keep such a clip
_EXAMPLES = 2  # of each reason, with a picture
_SHOWN = 40  # reasons with pictures: each costs about a second
_DETAILS = 200  # rejected rows of a reason that the page lists
# the workflow's settings that decide which clips stay, and what they are where it has none
_RULES: dict[str, Any] = {
    **{"filters": {}, "keep_if": [], "licences": [], "dedup": {}},
    **{"max_clips_per_source": None, "prefer": None},
}
_NOT_SHOWN = frozenset({"path", "sha256"})  # of no use on the page, and long
# numbers that are no scores: they are filtered by as scores are, but shown behind them
_OF_THE_FILE = (
    *("seconds", "num_frames", "fps", "height", "width", "aspect_ratio", "resolution"),
    *("text_len", "num_captions", "start", "end", *FACTS),
)


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
        "rules": {name: _settings(run).get(name) or other for name, other in _RULES.items()},
        **_clips(run),
    }


def _clips(run: RunFolder) -> dict[str, Any]:
    """The clips that reach the rules, packed; nothing where there are none."""
    last = (run.rejected["stage"] == _SELECTING) & (run.rejected["reason"] != _MARKED_OUT)
    ids = pd.Index(run.manifest[ID]).append(pd.Index(run.rejected.loc[last, ID]))
    scorers = _settings(run).get("scorers")
    clips = candidates(run.root, ids, scorers if isinstance(scorers, list) else None)
    if clips.empty or _settings(run).get("sources"):  # whose rules are not the run's
        return {"clips": None, "scores": [], "ranges": {}, "total": 0}
    clips = with_corrections(clips, run.manifest)
    columns = columns_of(clips.drop(columns=[n for n in _NOT_SHOWN if n in clips]))
    numbers = [name for name in columns if pd.api.types.is_numeric_dtype(clips[name])]
    others = [name for name in _OF_THE_FILE if name in numbers]
    scores = [name for name in numbers if name not in others]
    split = run.manifest.set_index(ID)["split"].reindex(clips[ID]).fillna("")
    return {
        "clips": packed({**columns, "was": split.to_numpy(dtype=object)}),
        "scores": scores,
        "numbers": others,
        "ranges": {n: [clips[n].min(), clips[n].max()] for n in scores if clips[n].notna().any()},
        "total": len(ids),
        "held": len(clips),
    }


def _settings(run: RunFolder) -> dict[str, Any]:
    """The workflow's config that the run was made with."""
    try:
        found = yaml.safe_load(run.configs.get("config.yaml", ""))
    except yaml.YAMLError:
        found = None
    return found if isinstance(found, dict) else {}


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
