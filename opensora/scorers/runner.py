"""Score a table of clips: decode a few frames of each, score in batches, mark what fails."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from opensora.core.errors import VideoError
from opensora.core.logging import progress
from opensora.core.versions import VERSIONS
from opensora.media.decode import read_frames
from opensora.scorers.base import ClipFrames, Scorer
from opensora.tables.columns import OK, SCORES
from opensora.text.clean import clean_caption

log = logging.getLogger(__name__)

BATCH_CLIPS = 8  # decoded clips in memory at once


def score_clips(
    clips: pd.DataFrame, name: str, scorer: Scorer, captions: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Score the good rows of a CLIPS table.

    Args:
        clips: a CLIPS table.
        name: registered name of the scorer, stored with its version in the column `scorer`.
        scorer: what judges the clips.
        captions: clip id -> raw caption, for scorers that need texts.

    Returns:
        A SCORES table, one row per clip in the same order. A clip marked before keeps its mark;
        a clip that can not be scored gets one; both have empty scores.
    """
    rows: list[dict[Any, Any]] = []
    records = clips.to_dict("records")
    batches = [records[k : k + BATCH_CLIPS] for k in range(0, len(records), BATCH_CLIPS)]
    for batch in progress(batches, description="score_clips"):
        rows.extend(_score_batch(batch, scorer, captions or {}))
    columns = [*SCORES.columns, *scorer.columns]
    return pd.DataFrame(rows, columns=columns).assign(scorer=f"{name}-{VERSIONS[name]}")


def _score_batch(
    batch: list[dict[Any, Any]], scorer: Scorer, captions: Mapping[str, str]
) -> list[dict[Any, Any]]:
    empty = dict.fromkeys(scorer.columns, float("nan"))
    rows = [
        {"id": clip["id"], "status": clip["status"], "detail": clip["detail"], **empty}
        for clip in batch
    ]
    loaded: list[ClipFrames] = []
    places: list[int] = []
    for place, clip in enumerate(batch):
        if clip["status"] != OK:
            continue
        try:
            loaded.append(_load(clip, scorer, captions.get(clip["id"], "")))
            places.append(place)
        except VideoError as error:
            log.warning("score_clips clip marked id=%s status=%s", clip["id"], error.reason)
            rows[place].update(status=error.reason, detail=error.detail)
    if loaded:
        scores = scorer.score(loaded)
        for k, place in enumerate(places):
            _enter(rows[place], {column: float(scores[column][k]) for column in scorer.columns})
    return rows


def _load(clip: dict[Any, Any], scorer: Scorer, caption: str) -> ClipFrames:
    """Decode what the scorer asks for.

    Raises:
        VideoError: the clip is unreadable, or lacks the caption that the scorer needs.
    """
    text = clean_caption(caption) if scorer.needs_text else ""
    if scorer.needs_text and not text:
        raise VideoError("no_caption", f"{clip['id']} has no caption to compare with")
    indices = scorer.choose(int(clip["num_frames"]))
    try:
        frames = read_frames(clip["path"], indices)
    except ValueError as error:  # the file is shorter than its table says
        raise VideoError("corrupt", str(error)) from error
    return ClipFrames(frames, np.array(indices), clip["kind"] == "image", text)


def _enter(row: dict[Any, Any], values: dict[str, float]) -> None:
    """Put scores into a row; numbers that are none mark it."""
    row.update({column: round(value, 6) for column, value in values.items()})
    missing = [column for column, value in values.items() if not np.isfinite(value)]
    if missing:
        detail = f"{', '.join(missing)} can not be computed from this clip"
        row.update(dict.fromkeys(missing, float("nan")))
        row.update(status="unscorable", detail=detail)
