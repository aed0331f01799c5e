"""Scenes from a table of others: joined with the videos of a shard by path."""

import logging
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from opensora.core.errors import TableError, VideoError
from opensora.core.log import progress
from opensora.curation.ingest.discovery import shard_of
from opensora.curation.isolation import WorkerFailure, map_isolated
from opensora.curation.scenes.boundaries import SceneSettings, scene_row, scenes_of
from opensora.curation.scenes.detect_scenes import TIMEOUT_S
from opensora.media.formats import VIDEO_SUFFIXES
from opensora.media.timeline import timeline
from opensora.media.unchanged import check_unchanged
from opensora.tables.clock import seconds_of
from opensora.tables.columns import NO_VIDEO, OK, PATH, SCENES, SPELLINGS
from opensora.tables.io import read_table, with_known_names
from opensora.tables.manifest import make_id
from opensora.tables.public import PublicTable, public_table, video_ids
from opensora.tables.text_tables import fill_text

log = logging.getLogger(__name__)

# how tables of others spell when a scene begins and ends
_TIMES = {"start": ("start", "start_time", "begin"), "end": ("end", "end_time", "stop")}


class Span(NamedTuple):
    """Seconds of a scene; the end is None where it is that of the video."""

    start: float
    end: float | None


def import_scenes(
    videos: pd.DataFrame,
    table: str | Path,
    *,
    roots: Sequence[str | Path] = (),
    shard: tuple[int, int] | None = None,
    workers: int = 1,
) -> pd.DataFrame:
    """Give each good video of a VIDEOS table the scenes that a table names.

    Args:
        videos: a VIDEOS table; rows that are not ok are carried through as one marked scene.
        table: columns path, start and end (seconds or h:mm:ss.sss; empty is the begin or the end
            of the file); paths are absolute, or relative to the table's folder or to a root. Or
            that of a public set, whose videos are told by their ids: see `tables/public.py`.
        roots: folders of the videos.
        shard: (number, of how many) that `videos` is; None where it is all of them.
        workers: processes that look up when frames appear.

    Returns:
        A SCENES table. A video without a row has status `no_scene`, a row that names no frame of
        its video `out_of_range`, one that begins before the row before it ends `overlapping`, and a
        row without a video `no_video`, in the shard of its path; of a public set all rows of a
        video are one. Images are one scene each.

    Raises:
        TableError: the table lacks a column, or a time is none.
    """
    spans = _read(Path(table), roots, videos[PATH])
    records: list[dict[Any, Any]] = videos.to_dict("records")
    films = [row for row in records if row["status"] == OK and row["kind"] == "video"]
    wanted = [(film, spans.get(os.path.realpath(film[PATH]), [])) for film in films]
    results = map_isolated(
        scenes_in_spans,
        wanted,
        workers=workers,
        timeout_s=partial(_limit_s, timeout_s=TIMEOUT_S),
        stage="import_scenes",
    )
    watched = progress(results, description="import_scenes", total=len(films))
    found = dict(zip((film["id"] for film in films), watched, strict=True))
    rows: list[dict[str, Any]] = []
    for video in records:
        scenes = found.get(video["id"])
        if isinstance(scenes, WorkerFailure):
            scenes = [scene_row(video, scenes.reason, f"{video[PATH]}: {scenes.detail}")]
        rows.extend(scenes_of(video, SceneSettings()) if scenes is None else scenes)
    known = {os.path.realpath(row[PATH]) for row in records}
    rows.extend(_without_video(spans, known, Path(table), shard))
    return pd.DataFrame(rows, columns=list(SCENES.columns))


def scenes_in_spans(wanted: tuple[dict[Any, Any], list[Span]]) -> list[dict[str, Any]]:
    """Rows of SCENES for one video and the spans that its rows name, in the order of time."""
    video, spans = wanted
    try:
        check_unchanged(video[PATH], video["sha256"])
        ticks, tick_s = timeline(Path(video[PATH])).ticks()
    except VideoError as error:
        return [scene_row(video, error.reason, error.detail)]
    times = np.round(ticks * float(tick_s), 6)  # when each frame appears, and the end of the last
    if not spans:
        row = scene_row(video, "no_scene", "the table of scenes has no row for it")
        return [{**row, "end": float(times[-1]), "end_frame": len(times) - 1}]
    rows, free = [], 0
    ordered = sorted(spans, key=lambda span: (span.start, span.end or times[-1]))
    for number, span in enumerate(ordered):
        first, last = (_frame(times, time) for time in (span.start, span.end))
        status, detail = OK, ""
        if first >= last:
            status, detail = "out_of_range", f"{_said(span)} is no part of {times[-1]:g} s"
        elif first < free:
            status, detail = "overlapping", f"{_said(span)} begins before the row before it ends"
        else:
            free = last
        row = scene_row(video, status, detail, number)
        if status == OK:
            row |= {"start": float(times[first]), "end": float(times[last])}
            row |= {"start_frame": first, "end_frame": last}
        rows.append(row)
    return rows


def _frame(times: np.ndarray, seconds: float | None) -> int:
    """The frame that appears nearest to a time; the number of frames stands for the end."""
    return len(times) - 1 if seconds is None else int(np.abs(times - seconds).argmin())


def _said(span: Span) -> str:
    return f"{span.start:g} s to {'the end' if span.end is None else f'{span.end:g} s'}"


def _limit_s(wanted: tuple[dict[Any, Any], list[Span]], timeout_s: float) -> float:
    return timeout_s


def _read(table: Path, roots: Sequence[str | Path], videos: Iterable[str]) -> dict[str, list[Span]]:
    """Spans by the real path of their file, or by the id of a video that is not there."""
    rows = read_table(table, keep_lists=True)
    if public := public_table(rows.columns):
        return _of_public(public, rows, table, _files_by_id(roots, videos))
    rows = with_known_names(fill_text(rows))
    columns = {}
    for name, spellings in ((PATH, SPELLINGS[PATH]), *_TIMES.items()):
        there = next((spelling for spelling in spellings if spelling in rows), None)
        if there is None:
            raise TableError(f"{table}: scenes need a column {name!r}; it has {list(rows)}")
        columns[name] = rows[there].tolist()
    spans: dict[str, list[Span]] = {}
    for row, (path, begin, end) in enumerate(zip(*columns.values(), strict=True), start=1):
        try:
            span = Span(seconds_of(begin) or 0.0, seconds_of(end))
        except ValueError as error:
            raise TableError(
                f"{table}: row {row}: {error}; start and end are seconds or h:mm:ss.sss"
            ) from error
        spans.setdefault(_place(path, [table.parent, *roots]), []).append(span)
    return spans


def _of_public(
    public: PublicTable, rows: pd.DataFrame, table: Path, files: dict[str, str]
) -> dict[str, list[Span]]:
    """Spans of a public set's table."""
    spans: dict[str, list[Span]] = {}
    for number, row in enumerate(rows.to_dict("records"), start=1):
        try:
            found = [Span(span.start, span.end) for span in public.spans_of(row)]
        except ValueError as error:
            raise TableError(f"{table}: row {number}: {error}") from error
        name = public.video_of(row)
        spans.setdefault(files.get(name, name), []).extend(found)
    missing = [name for name in spans if not os.path.isabs(name)]
    for name in missing:  # of millions of videos few are here: a row each is enough
        del spans[name][1:]
    log.info("import_scenes set=%s videos=%d not_there=%d", public.name, len(spans), len(missing))
    return spans


def _files_by_id(roots: Sequence[str | Path], videos: Iterable[str]) -> dict[str, str]:
    """Real paths of a shard's videos, and of those below the roots, by the ids of their names."""
    paths = list(videos)
    for root in roots:
        for folder, _, names in os.walk(root, followlinks=True):
            paths += [os.path.join(folder, name) for name in names]
    found: dict[str, str] = {}
    for path in paths:
        if os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES:
            for name in video_ids(path):
                found.setdefault(name, os.path.realpath(path))
    return found


def _place(path: str, folders: Sequence[str | Path]) -> str:
    """Real path of a file that a row names: in the first folder that has it."""
    path = path.replace("\0", "\ufffd")  # no file has such a name: its row is one without a video
    candidates = [os.path.realpath(os.path.join(folder, path)) for folder in folders]
    return next(filter(os.path.exists, candidates), candidates[0])


def _without_video(
    spans: dict[str, list[Span]], known: set[str], table: Path, shard: tuple[int, int] | None
) -> Iterable[dict[str, Any]]:
    """Marked rows for those that name no video."""
    for path in sorted(spans.keys() - known):
        if shard is not None and shard_of(path, shard[1]) != shard[0]:
            continue
        nobody = {"id": make_id(path, path), PATH: path, "kind": "video", "sha256": ""}
        for number, span in enumerate(spans[path]):
            detail = f"{table.name}: {_said(span)} of a file that is not among the videos"
            yield scene_row(nobody, NO_VIDEO, detail, number) | {"video_id": ""}
