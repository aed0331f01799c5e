"""The clips that the rules of selection choose among, joined as build_manifest joins them."""

from __future__ import annotations

from collections.abc import Collection
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
    STATUS,
    TEXT,
    K,
)
from opensora.tables.io import read_table

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
    if len(clips) > LIMIT:
        clips = clips[pd.util.hash_array(clips[ID].to_numpy(object)).argsort().argsort() < LIMIT]
    clips = clips.assign(seconds=clips["end"] - clips["start"])
    found = first_captions(captions).set_index(ID).reindex(clips[ID])
    clips = clips.assign(**{n: found[n].to_numpy() for n in (CAPTION, TEXT, "text_len")})
    if K in captions:
        clips[NUM_CAPTIONS] = count_good(captions, clips[ID]).to_numpy()
    for folder in sorted(path for path in (root / "scores").glob("*") if path.is_dir()):
        if scorers is not None and folder.name not in scorers:
            continue  # of a run before this
        table = stage_table(root, f"scores/{folder.name}").set_index(ID).reindex(clips[ID])
        names = [name for name in table.columns if name not in _NOT_SCORES]
        clips = clips.assign(**{name: table[name].to_numpy() for name in names})
    known = [name for name in (LICENCE, *FACTS) if name in videos]
    facts = videos.set_index(ID)[known].reindex(clips["video_id"])
    return clips.assign(**{name: facts[name].to_numpy() for name in known})


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


def columns_of(clips: pd.DataFrame) -> dict[str, np.ndarray]:
    """Columns as the page takes them: numbers (flags as 0 and 1) with None, and texts."""
    columns = {}
    for name in clips.columns:
        values = clips[name]
        if pd.api.types.is_bool_dtype(values):
            columns[str(name)] = values.to_numpy(dtype=int)
        elif pd.api.types.is_numeric_dtype(values):
            columns[str(name)] = values.to_numpy()
        else:
            columns[str(name)] = values.fillna("").astype(str).to_numpy(dtype=object)
    return columns
