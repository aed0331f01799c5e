"""Clips: cut the scenes of every source of a table into files of bounded length."""

import glob
import itertools
import logging
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.core.errors import OpenSoraError
from opensora.core.log import progress
from opensora.curation.clips.clip_plan import Row, clip_without_file
from opensora.curation.clips.cut import clips_limit_s, clips_of_source
from opensora.curation.clips.lengths import ClipSettings
from opensora.curation.isolation import WorkerFailure, map_isolated
from opensora.tables.columns import CLIPS, OK

log = logging.getLogger(__name__)

TIMEOUT_S = 300.0  # for a video of no length; see `clips_limit_s`


def split_clips(
    scenes: pd.DataFrame,
    clips_dir: str | Path,
    settings: ClipSettings,
    *,
    workers: int = 1,
    timeout_s: float = TIMEOUT_S,
) -> pd.DataFrame:
    """Cut the scenes of a SCENES table into clip files `clips_dir/{id}.mp4` (images: `.png`).

    Each source is decoded once. Clip files that an earlier run finished with the same settings
    are kept as they are.

    Args:
        scenes: a SCENES table; rows that are not ok are carried through as one marked clip.
        clips_dir: folder of the clip files.
        settings: lengths, rate, size, and whether to re-encode.
        workers: processes; one that crashes or takes too long costs its own source.
        timeout_s: seconds that a source may take, on top of its frames.

    Returns:
        A CLIPS table; at least one row per scene, in its order. The rows of a scene cover its
        whole time. Scenes of a video that turns out unreadable get the reason as their status.

    Raises:
        OpenSoraError: the files can not be written.
    """
    folder = Path(clips_dir)
    folder.mkdir(parents=True, exist_ok=True)
    records: list[Row] = scenes.to_dict("records")
    groups = [list(group) for _, group in itertools.groupby(records, lambda row: row["video_id"])]
    usable = [group for group in groups if any(scene["status"] == OK for scene in group)]
    results = map_isolated(
        partial(clips_of_source, folder=folder, settings=settings),
        usable,
        workers=workers,
        timeout_s=partial(clips_limit_s, timeout_s=timeout_s),
    )
    done = progress(results, description="split_clips", total=len(usable))
    rows: list[dict[Any, Any]] = []
    for group in groups:
        if all(scene["status"] != OK for scene in group):
            rows.extend(clip_without_file(scene) for scene in group)
            continue
        clips = next(done)
        if isinstance(clips, WorkerFailure):
            _remove_unfinished(folder, group[0]["video_id"])
            detail = f"{group[0]['path']}: {clips.detail}"
            clips = [clip_without_file(scene, clips.reason, detail) for scene in group]
        _warn_of_lost(group, clips)
        rows.extend(clips)
    _check_encoder(rows)
    return pd.DataFrame(rows, columns=list(CLIPS.columns))


def _warn_of_lost(scenes: list[Row], clips: list[Row]) -> None:
    """Log a source of which good scenes were lost."""
    expected = {"too_short", "too_long", "no_key_frame", *(scene["status"] for scene in scenes)}
    lost = next((clip for clip in clips if clip["status"] not in expected), None)
    if lost is not None:
        log.warning("split_clips source marked path=%s status=%s", lost["source"], lost["status"])


def _remove_unfinished(folder: Path, video_id: str) -> None:
    """Remove what a killed worker was writing."""
    for path in folder.glob(f".{glob.escape(video_id)}_*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _check_encoder(rows: list[Row]) -> None:
    """Tell an ffmpeg that can encode nothing from a clip that can not be encoded.

    Raises:
        OpenSoraError: nothing was encoded.
    """
    failed = [row for row in rows if row["status"] == "encode_failed"]
    if failed and not any(row["status"] == OK and row["kind"] == "video" for row in rows):
        raise OpenSoraError(
            f"no clip could be encoded: {failed[0]['detail']}; check that this ffmpeg has libx264"
        )
