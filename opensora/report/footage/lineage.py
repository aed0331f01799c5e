"""The clips of a run: where they come from, what is known of them, where they went."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.report.collect import RunFolder
from opensora.report.footage.candidates import (
    candidates,
    columns_of,
    even_part,
    ranges_of,
    ready_clips,
    with_corrections,
)
from opensora.report.footage.excerpts import Span, excerpt
from opensora.report.history import config_of
from opensora.report.media import Media
from opensora.report.script import packed
from opensora.tables.columns import (
    CAPTION,
    FACTS,
    ID,
    LEFT_OUT,
    NUM_CAPTIONS,
    PATH,
    SOURCE_NAME,
    TEXT,
)
from opensora.tables.io import read_table
from opensora.tables.manifest import stacked, with_facts

LOOKS = 16  # clips with a player: each costs about a second
_OUT = "in no batch: "
_SELECTING = "build_manifest"
_MARKED_OUT = "marked_out"  # no rule of the page can keep such a clip
_NOT_SHOWN = frozenset({PATH, "sha256"})  # of no use on the page, and long
# numbers that are no scores: they are filtered by as scores are, but shown behind them
_OF_THE_FILE = (
    *("seconds", "num_frames", "fps", "height", "width", "aspect_ratio", "resolution"),
    *("text_len", NUM_CAPTIONS, "start", "end", *FACTS),
)


def lineage(run: RunFolder, media: Media) -> dict[str, Any] | None:
    """What the page knows of clips; None without a manifest.

    Returns:
        `clips` (packed: all their columns, and `#was`, the split that the run gave them or ""),
        `scores` and `numbers` (names of columns of numbers), `ranges` of the scores, `held` of
        `total` clips, `splits` that occur, `sources` (name -> the columns that its clips have; {}
        where they name none), `origin` (of the clips: "stages" whose tables build_manifest joined,
        an "import" that has no rules, or the "manifest" alone where the tables are gone), `stages`
        (names), `buckets` (packed: id, and for every stage the bucket of each clip of the manifest,
        or why it is in no batch) and `looks` (id of a clip -> addresses of a poster and a player,
        or why there is none), the latter of clips drawn evenly by the hash of their ids.
    """
    if run.manifest.empty:
        return None
    ids = run.manifest[ID]
    stages = [stage.name for stage in run.stages if stage.buckets]
    columns = {}
    for name in stages:
        places = _buckets(run.root / "buckets" / name)
        columns[f"in {name}"] = places.reindex(ids).fillna("").to_numpy(object)
    return {
        **_clips(run),
        "stages": stages,
        "buckets": packed({ID: ids.to_numpy(object), **columns}),
        "looks": {row[ID]: _look(row, run.root, media) for row in _drawn(run.manifest)},
    }


def _clips(run: RunFolder) -> dict[str, Any]:
    """The clips that reached the rules; where that is not known, those of the manifest."""
    last = (run.rejected["stage"] == _SELECTING) & (run.rejected["reason"] != _MARKED_OUT)
    ids = pd.Index(run.manifest[ID]).append(pd.Index(run.rejected.loc[last, ID]))
    held = even_part(ids)
    clips, origin = _choosable(run, held)
    if clips.empty:
        clips = with_facts(run.manifest[run.manifest[ID].isin(held)])
    if CAPTION not in clips:
        clips[CAPTION] = clips[TEXT]
    shown = clips.drop(columns=[name for name in _NOT_SHOWN if name in clips])
    columns = columns_of(shown, empty=None)
    numbers = [name for name, values in columns.items() if values.dtype.kind in "biuf"]
    scores = [name for name in numbers if name not in _OF_THE_FILE]
    split = run.manifest.set_index(ID)["split"].reindex(clips[ID]).fillna("")
    parts = shown.groupby(SOURCE_NAME, sort=False) if SOURCE_NAME in shown else ()
    return {
        "clips": packed({**columns, "#was": split.to_numpy(dtype=object)}),
        "scores": scores,
        "numbers": [name for name in _OF_THE_FILE if name in numbers],
        "ranges": ranges_of({name: columns[name] for name in scores}),
        "total": len(ids),
        "held": len(clips),
        "splits": sorted(set(split)),
        # as build_manifest has them, which knows no column that only others have
        "sources": {name: [*part.dropna(axis=1, how="all")] for name, part in parts},
        "origin": origin,
    }


def _choosable(run: RunFolder, ids: pd.Index) -> tuple[pd.DataFrame, str]:
    """The clips as build_manifest joined them, or none, and where they come from."""
    if run.funnel and all(stage.name != _SELECTING for stage in run.funnel):
        return pd.DataFrame(), "import"
    scorers = config_of(run).get("scorers")
    cut = candidates(run.root, ids, scorers if isinstance(scorers, list) else None)
    ready = ready_clips(run.root)
    ready = ready[ready[ID].isin(ids)]
    if cut.empty and ready.empty:
        return pd.DataFrame(), "manifest"
    if len(cut):
        cut = with_corrections(cut, run.manifest)
    return stacked([cut, ready]) if len(ready) else cut, "stages"


def _buckets(folder: Path) -> pd.Series:
    """Where a stage put each clip, by id: the bucket, and why it is in no batch."""
    parts = [read_table(file)[[ID, "bucket"]] for file in sorted(folder.glob("[0-9]*.parquet"))]
    filled = [part for part in parts if len(part)]
    if not filled:
        return pd.Series(dtype=object)
    places = pd.concat(filled).groupby(ID, sort=False)["bucket"].agg(", ".join)
    left_out = folder / "left_out.parquet"
    if left_out.is_file():
        reasons = read_table(left_out, LEFT_OUT).drop_duplicates(ID).set_index(ID)["reason"]
        places = (_OUT + reasons).combine_first(places)
    return places


def _drawn(manifest: pd.DataFrame) -> list[dict[Any, Any]]:
    """Some clips, the same ones for equal ids."""
    keys = [hashlib.sha256(str(name).encode()).digest() for name in manifest[ID]]
    first = sorted(range(len(keys)), key=keys.__getitem__)[:LOOKS]
    return manifest.iloc[sorted(first)].to_dict("records")


def _look(row: dict[Any, Any], root: Path, media: Media) -> dict[str, str]:
    """A poster and a player of a clip; tables name files from where the pipeline was run."""
    file = Path(row[PATH])
    if not file.is_absolute() and not file.is_file():
        file = root.resolve().parent.parent / file
    fps, frames = float(row["fps"]), int(row["num_frames"])
    seconds = frames / fps if fps > 0 else 0.0
    size = {"height": int(row["height"]), "width": int(row["width"])}
    return excerpt(Span(file, 0.0, seconds, fps, frames, **size), media)
