"""The clips that the rules of selection choose among, joined as build_manifest joins them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from opensora.tables.captions import count_good, first_captions
from opensora.tables.columns import (
    CAPTION,
    DETAIL,
    FACTS,
    ID,
    LICENCE,
    NUM_CAPTIONS,
    SHARD,
    SOURCE_NAME,
    STATUS,
    TEXT,
    K,
)
from opensora.tables.io import read_table
from opensora.tables.manifest import read_manifest, stacked, with_facts

IMPORTED = "imported"  # folder of a run: ready clips of its sources
LIMIT = 250_000  # clips that a page holds; of more it holds an even part
_NOT_SCORES = frozenset({ID, STATUS, DETAIL, "scorer"})


def candidates(root: Path, ids: pd.Index, scorers: Collection[str] | None = None) -> pd.DataFrame:
    """Join what the stages say of some clips.

    Args:
        root: the run's folder.
        ids: clips that passed every stage before build_manifest.
        scorers: whose scores the run joins; None is all that are there.

    Returns:
        One row a clip with the columns of clips, captions, scores and the facts of its video, and
        `seconds`; empty where a stage has not run.
    """
    clips, captions, videos = (stage_table(root, name) for name in ("clips", "captions", "ingest"))
    if clips.empty or captions.empty:
        return pd.DataFrame()
    clips = clips[clips[ID].isin(ids)].drop(columns=[STATUS, DETAIL]).reset_index(drop=True)
    clips = clips.assign(seconds=clips["end"] - clips["start"])
    found = first_captions(captions).set_index(ID).reindex(clips[ID])
    clips = clips.assign(**{n: found[n].to_numpy() for n in (CAPTION, TEXT, "text_len")})
    if K in captions:
        clips[NUM_CAPTIONS] = count_good(captions, clips[ID]).to_numpy()
    for folder in sorted(path for path in (root / "scores").glob("*") if path.is_dir()):
        if scorers is not None and folder.name not in scorers:
            continue  # of a run before this
        table = stage_table(root, f"scores/{folder.name}")
        if table.empty:
            continue
        table = table.set_index(ID).reindex(clips[ID])
        names = [name for name in table.columns if name not in _NOT_SCORES]
        clips = clips.assign(**{name: table[name].to_numpy() for name in names})
    known = [name for name in (LICENCE, SOURCE_NAME, *FACTS) if name in videos]
    if not known:  # ready clips of a table, which were cut from none
        return clips
    facts = videos.set_index(ID)[known].reindex(clips["video_id"])
    return clips.assign(**{name: facts[name].to_numpy() for name in known})


def ready_clips(root: Path) -> pd.DataFrame:
    """Clips of sources that came as tables, as build_manifest takes them; empty without any."""
    folders = sorted((root / IMPORTED).glob("*/manifest"))
    tables = [read_manifest(folder).drop(columns=SHARD) for folder in folders]
    return with_facts(stacked(tables)) if tables else pd.DataFrame(columns=[ID])


def even_part(ids: pd.Index, limit: int = LIMIT) -> pd.Index:
    """As many ids as a page holds, the same ones for equal ids."""
    if len(ids) <= limit:
        return ids
    return ids[pd.util.hash_array(ids.to_numpy(object)).argsort().argsort() < limit]


def with_corrections(clips: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """The clips with the captions of the manifest, where it has them: corrections are in it."""
    names = [name for name in (CAPTION, TEXT, "text_len") if name in manifest and name in clips]
    now = manifest.set_index(ID)[names].reindex(clips[ID])
    there = now.index.isin(manifest[ID])
    return clips.assign(**{n: clips[n].mask(there, now[n].to_numpy()) for n in names})


def stage_table(root: Path, name: str) -> pd.DataFrame:
    """All shards of a stage under one another; empty where it has not run."""
    parts = [read_table(path) for path in sorted((root / name).glob("*.parquet"))]
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()


def columns_of(clips: pd.DataFrame, empty: str | None = "") -> dict[str, np.ndarray]:
    """Columns as the page takes them: numbers (flags as 0 and 1) with NaN, and texts.

    Args:
        clips: a table.
        empty: what stands where a column of texts has no value.
    """
    return {str(name): _plain(clips[name], empty) for name in clips.columns}


def _plain(values: pd.Series, empty: str | None) -> np.ndarray:
    """One column; where sources were joined, an object column may hold flags or numbers."""
    known = values.dropna().infer_objects()
    if len(known) and pd.api.types.is_bool_dtype(known):
        return values.to_numpy(dtype=float if len(known) < len(values) else int)
    if pd.api.types.is_numeric_dtype(known):
        return pd.to_numeric(values).to_numpy()
    texts = known.map(lambda cell: cell if isinstance(cell, int | float) else str(cell))
    return texts.astype(object).reindex(values.index, fill_value=empty).to_numpy()


def ranges_of(columns: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """The smallest and the largest value of each column of numbers that has any."""
    known = {
        name: values[np.isfinite(values)]
        for name, values in columns.items()
        if values.dtype.kind in "biuf"
    }
    return {name: [values.min(), values.max()] for name, values in known.items() if len(values)}
