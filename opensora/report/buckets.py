"""What is trained on: buckets, batches, tokens, captions; and what is never seen."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from opensora.report.collect import RunFolder, StageFolder
from opensora.report.facts import bucket_table, source_rows
from opensora.report.media import Media
from opensora.report.seen import amount, seen_lines
from opensora.tables.columns import ID, TEXT
from opensora.tables.io import read_table

_WORDS = 60  # most frequent ones
_BINS = 24
_WORD = re.compile(r"[^\W\d_]{2,}")


def buckets(run: RunFolder, media: Media) -> dict[str, Any] | None:
    """Data of the section; None before the first plan and the first caption."""
    stages = [_stage(stage) for stage in run.stages if stage.buckets or stage.ledger]
    captions = _captions(run)
    return {"stages": stages, "captions": captions} if stages or captions else None


def _stage(stage: StageFolder) -> dict[str, Any]:
    plan = bucket_table(stage.name, stage.buckets) if stage.buckets else None
    lines = seen_lines(stage.ledger) if stage.ledger else []
    pairs = Counter(zip(stage.rejected["stage"], stage.rejected["reason"], strict=True))
    return {
        "name": stage.name,
        "facts": plan.facts if plan else [],
        "rows": plan.rows if plan else [],
        "dropped": plan.dropped if plan else [],
        "sources": source_rows(stage.buckets, stage.ledger),
        "warnings": plan.warnings if plan else [],
        "seen": [{**vars(line), "amount": amount(line)} for line in lines],
        "clips": stage.ledger["total"]["clips"] if stage.ledger else None,
        "unreadable": [(*pair, count) for pair, count in sorted(pairs.items())],
    }


def _captions(run: RunFolder) -> dict[str, Any] | None:
    """Lengths, words and tokens of the captions of the manifest."""
    if run.manifest.empty:
        return None
    texts = run.manifest[TEXT].astype(str)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(set(_WORD.findall(text.lower())))
    lengths = {
        "words of a caption": run.manifest["text_len"],
        "characters of a caption": texts.str.len(),
        "tokens of a caption": _tokens(run.root, run.manifest[ID]),
    }
    return {
        "captions": len(texts),
        "distinct": int(texts.nunique()),
        "vocabulary": len(counts),
        "words": [{"word": word, "clips": count} for word, count in counts.most_common(_WORDS)],
        "lengths": {name: _bins(values) for name, values in lengths.items() if len(values)},
    }


def _tokens(root: Path, ids: pd.Series) -> pd.Series:
    """Tokens of the captions that are encoded, of the text encoder of the run."""
    parts = [
        read_table(path, columns=[ID, "tokens"])
        for path in sorted((root / "embeddings").glob("[0-9]*.parquet"))
    ]
    parts = [part for part in parts if len(part) and "tokens" in part]
    if not parts:
        return pd.Series(dtype=float)
    table = pd.concat(parts)
    return table.loc[table[ID].isin(ids), "tokens"]


def _bins(values: pd.Series) -> dict[str, Any]:
    """A histogram of whole numbers, with edges that are whole."""
    known = values.dropna().astype(int)
    low, high = int(known.min()), int(known.max())
    width = max(1, -(-(high - low + 1) // _BINS))
    edges = np.arange(low, high + width + 1, width)
    counts, _ = np.histogram(known, edges)
    bars = [
        {"from": int(first), "to": int(first) + width - 1, "count": int(count)}
        for first, count in zip(edges, counts, strict=False)
    ]
    return {"bars": bars, "median": float(known.median()), "low": low, "high": high}
