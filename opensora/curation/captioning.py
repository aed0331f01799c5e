"""Captioning: give every clip of a table its raw text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.core.logging import progress
from opensora.curation.captioners.base import Captioner, Clip
from opensora.tables.columns import CAPTIONS, OK
from opensora.text.clean import count_words

_BATCH = 32  # clips handed to a captioner at once


def caption_clips(clips: pd.DataFrame, captioner: Captioner) -> pd.DataFrame:
    """Caption the good rows of a CLIPS table.

    Args:
        clips: a CLIPS table.
        captioner: where the texts come from.

    Returns:
        A CAPTIONS table, one row per clip in the same order. The text is raw: the manifest and
        whoever feeds a text encoder clean it. A clip without text has status `no_caption`; a
        clip that was marked before keeps its mark.
    """
    rows: list[dict[Any, Any]] = []
    for batch in progress(list(_batches(clips)), description="caption_clips"):
        good = [row for row in batch if row["status"] == OK]
        texts = dict(
            zip((row["id"] for row in good), captioner.caption(_as_clips(good)), strict=True)
        )
        rows.extend(_row(row, texts.get(row["id"], "")) for row in batch)
    return pd.DataFrame(rows, columns=list(CAPTIONS.columns))


def _batches(clips: pd.DataFrame) -> Iterator[list[dict[Any, Any]]]:
    records = clips.to_dict("records")
    for start in range(0, len(records), _BATCH):
        yield records[start : start + _BATCH]


def _as_clips(rows: list[dict[Any, Any]]) -> list[Clip]:
    return [
        Clip(
            id=row["id"],
            path=Path(row["path"]),
            source=Path(row["source"]),
            kind=row["kind"],
            start=float(row["start"]),
            end=float(row["end"]),
        )
        for row in rows
    ]


def _row(clip: dict[Any, Any], text: str) -> dict[Any, Any]:
    text = " ".join(text.split())  # one line, so that the table stays readable
    status, detail = clip["status"], clip["detail"]
    if status == OK and not text:
        status, detail = "no_caption", f"no caption was found for {clip['source']}"
    return {
        "id": clip["id"],
        "text": text,
        "text_len": count_words(text),
        "status": status,
        "detail": detail,
    }
