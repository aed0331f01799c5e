"""Where training clips come from and where they went: sources, seconds, buckets, a look at some."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.report.collect import RunFolder
from opensora.report.footage.excerpts import Span, excerpt
from opensora.report.media import Media
from opensora.report.script import packed
from opensora.tables.columns import ID, LEFT_OUT, PATH
from opensora.tables.io import read_table

LOOKS = 16  # clips with a player: each costs about a second
_OUT = "in no batch: "


def lineage(run: RunFolder, media: Media) -> dict[str, Any] | None:
    """What the clips section shows beside the table of clips; None without a manifest.

    Returns:
        `stages` (names), `buckets` (packed: id, and for every stage the bucket of each clip of the
        manifest, or why it is in no batch) and `looks` (id of a clip -> addresses of a poster and a
        player, or why there is none), the latter of clips drawn evenly by the hash of their ids.
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
        "stages": stages,
        "buckets": packed({ID: ids.to_numpy(object), **columns}),
        "looks": {row[ID]: _look(row, run.root, media) for row in _drawn(run.manifest)},
    }


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
