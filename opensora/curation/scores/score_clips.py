"""Score a table of clips: decode once for all scorers, score in batches, mark what fails."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from opensora.core.errors import VideoError
from opensora.core.guard import Guard, call_each
from opensora.core.log import progress
from opensora.core.versions import VERSIONS
from opensora.curation.scores.pixels import decode_both
from opensora.curation.scores.scorer import ClipFrames, Scorer
from opensora.stores.rows import RowStore
from opensora.tables.columns import OK, SCORES

log = logging.getLogger(__name__)

BATCH_CLIPS = 4  # clips that are scored together at most
BATCH_BYTES = 1 << 27  # of decoded frames in memory; the clip that reaches it is the batch's last
Row = dict[Any, Any]


def score_clips(
    clips: pd.DataFrame,
    scorers: Mapping[str, Scorer],
    captions: Mapping[str, str] | None = None,
    store: Path | None = None,
    part: str = "all",
) -> dict[str, pd.DataFrame]:
    """Score the good rows of a CLIPS table.

    Args:
        clips: a CLIPS table.
        scorers: registered name -> what judges the clips.
        captions: clip id -> raw caption, for scorers that need texts.
        store: folder of the scores that are known; such clips are not decoded again.
        part: what of the store is looked up, such as a shard; jobs may share one.

    Returns:
        For each scorer a SCORES table, one row per clip in the same order, with name and version
        in the column `scorer`. A clip marked before keeps its mark; a clip that can not be scored
        gets one; both have empty scores.
    """
    jobs = [_Job(name, scorer, captions or {}, store, part) for name, scorer in scorers.items()]
    records: list[Row] = clips.to_dict("records")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # jobs run side by side, one thread each
    try:
        with Guard("score_clips") as reading, Guard("score_clips") as scoring:
            batch = _Batch(jobs, reading, scoring)
            for clip in progress(records, description="score_clips"):
                batch.add(clip)
                if batch.is_full():
                    batch.score()
            batch.score()
    finally:
        cv2.setNumThreads(threads)
    return {job.name: job.finish() for job in jobs}


class _Job:
    """One scorer's work on a table."""

    def __init__(
        self,
        name: str,
        scorer: Scorer,
        captions: Mapping[str, str],
        store: Path | None,
        part: str,
    ) -> None:
        self.name, self.scorer = name, scorer
        self._captions = captions
        self._rows: list[Row] = []
        self._store = None
        if store is not None:  # a new version starts anew, an old one stays usable
            weights = hashlib.sha256(scorer.identity().encode()).hexdigest()[:12]
            self._store = RowStore(store / f"{name}-{VERSIONS[name]}-{weights}", part)
        self._hits = 0

    def text(self, clip: Row) -> str:
        """The clip's clean caption, if the scorer reads it."""
        if not self.scorer.needs_text:
            return ""
        return self._captions.get(clip["id"], "")

    def begin(self, clip: Row) -> tuple[Row, bool]:
        """Start the row of a clip; says whether it still has to be scored."""
        row = {"id": clip["id"], "status": clip["status"], "detail": clip["detail"]}
        row |= dict.fromkeys(self.scorer.columns, float("nan"))
        self._rows.append(row)
        if clip["status"] != OK:
            return row, False
        if self.scorer.needs_text and not self.text(clip):
            detail = f"{clip['id']} has no caption to compare with"
            row.update(status="no_caption", detail=detail)
            return row, False
        known = self._store.get(self._key(clip)) if self._store else None
        if known is not None:
            row.update(known)
            self._hits += 1
            return row, False
        return row, True

    def scores(self, clips: list[ClipFrames]) -> list[Row]:
        """Column -> score of each clip."""
        found = self.scorer.score(clips)
        columns = self.scorer.columns
        return [{column: found[column][k] for column in columns} for k in range(len(clips))]

    def keep(self, clip: Row, row: Row) -> None:
        """Remember a row that was scored."""
        if self._store:
            known = {k: v for k, v in row.items() if k != "id" and v == v}  # NaN is no JSON
            self._store.put(self._key(clip), known)

    def _key(self, clip: Row) -> str:
        """What a score depends on: the clip's bytes, and the caption if it is read."""
        words = self.text(clip)
        return clip["sha256"] + (hashlib.sha256(words.encode()).hexdigest()[:16] if words else "")

    def finish(self) -> pd.DataFrame:
        """The table of all rows."""
        if self._store:
            self._store.save()
            log.info("score_clips scorer=%s known=%d of=%d", self.name, self._hits, len(self._rows))
        columns = [*SCORES.columns, *self.scorer.columns]
        table = pd.DataFrame(self._rows, columns=columns)
        return table.assign(scorer=f"{self.name}-{VERSIONS[self.name]}")


class _Batch:
    """Decoded clips that wait for their scores; each was decoded once for all scorers."""

    def __init__(self, jobs: Sequence[_Job], reading: Guard, scoring: Guard) -> None:
        self._jobs, self._reading, self._scoring = jobs, reading, scoring
        self._waiting: dict[str, list[tuple[Row, Row, ClipFrames]]] = {}
        self._num_clips = self._num_bytes = 0

    def add(self, clip: Row) -> None:
        """Decode a clip for the scorers that do not know it yet, if there are any."""
        todo = [(job, row) for job in self._jobs for row, open_ in [job.begin(clip)] if open_]
        if not todo:
            self._reading.praise()
            self._scoring.praise()
            return
        found = self._reading.call(decode_both, clip, [job.scorer for job, _ in todo])
        if isinstance(found, VideoError):
            for _, row in todo:
                _mark(row, found)
            return
        frames, source = found
        for (job, row), (indices, pictures) in zip(todo, frames, strict=True):
            is_image, fps = clip["kind"] == "image", float(clip["fps"])
            own = source if job.scorer.needs_source else []
            seen = ClipFrames(pictures, indices, is_image, job.text(clip), fps, own)
            self._waiting.setdefault(job.name, []).append((clip, row, seen))
        self._num_clips += 1
        unlike = {id(picture): picture.size for _, own in frames for picture in own}
        self._num_bytes += sum(3 * height * width for height, width in unlike.values())

    def is_full(self) -> bool:
        """Whether it is time to score."""
        return self._num_clips >= BATCH_CLIPS or self._num_bytes >= BATCH_BYTES

    def score(self) -> None:
        """Score what waits, and let go of the frames."""
        for job in self._jobs:
            entries = self._waiting.pop(job.name, [])
            if not entries:
                continue
            scored = call_each(self._scoring, job.scores, [seen for *_, seen in entries])
            for (clip, row, _), scores in zip(entries, scored, strict=True):
                if isinstance(scores, VideoError):
                    _mark(row, scores)
                else:
                    _set_scores(row, scores)
                    job.keep(clip, row)
        self._num_clips = self._num_bytes = 0


def _mark(row: Row, fault: VideoError) -> None:
    log.warning("score_clips clip marked id=%s status=%s", row["id"], fault.reason)
    row.update(status=fault.reason, detail=fault.detail)


def _set_scores(row: Row, values: dict[str, Any]) -> None:
    """Put scores into a row; numbers that are none mark it."""
    missing = []
    for column, value in values.items():
        if isinstance(value, str):  # a name or a hash, which may be empty
            row[column] = value
        elif np.isfinite(value):
            row[column] = round(float(value), 6)
        else:
            missing.append(column)
    if missing:
        detail = f"{', '.join(missing)} can not be computed from this clip"
        row.update(status="unscorable", detail=detail)
