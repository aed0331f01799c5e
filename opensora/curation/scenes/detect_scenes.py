"""Scenes: find the cuts and transitions of every video of a table."""

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import pandas as pd

from opensora.core.log import progress
from opensora.curation.isolation import WorkerFailure, map_isolated
from opensora.curation.scenes.boundaries import SceneSettings, scene_limit_s, scene_row, scenes_of
from opensora.tables.columns import OK, SCENES

log = logging.getLogger(__name__)

TIMEOUT_S = 300.0  # for a video of no length; see `scene_limit_s`


def detect_scenes(
    videos: pd.DataFrame,
    settings: SceneSettings | None = None,
    *,
    workers: int = 1,
    timeout_s: float = TIMEOUT_S,
) -> pd.DataFrame:
    """Cut every good video of a VIDEOS table into scenes.

    Args:
        videos: a VIDEOS table; rows that are not ok are carried through as one marked scene.
        settings: None takes the defaults.
        workers: processes; one that crashes or takes too long costs its own video.
        timeout_s: seconds that a video may take, on top of its pixels.

    Returns:
        A SCENES table; at least one row per video, in its order. The scenes of a video cover
        all its frames: `start_frame` to `end_frame`, half-open. Of a video that is damaged on its
        way the scenes before the damage are good, the rest is one marked row.
    """
    settings = settings or SceneSettings()
    records: list[dict[Any, Any]] = videos.to_dict("records")
    films = [video for video in records if video["status"] == OK and video["kind"] == "video"]
    results = map_isolated(
        partial(scenes_of, settings=settings),
        films,
        workers=workers,
        timeout_s=partial(scene_limit_s, timeout_s=timeout_s),
        stage="detect_scenes",
    )
    found = dict(zip((film["id"] for film in films), _watched(results, len(films)), strict=True))
    rows: list[dict[str, Any]] = []
    for video in records:
        scenes = found.get(video["id"]) or scenes_of(video, settings)
        if isinstance(scenes, WorkerFailure):
            scenes = [scene_row(video, scenes.reason, f"{video['path']}: {scenes.detail}")]
        rows.extend(scenes)
    return pd.DataFrame(rows, columns=list(SCENES.columns))


def _watched(
    results: Iterator[list[dict[str, Any]] | WorkerFailure], total: int
) -> Iterator[list[dict[str, Any]] | WorkerFailure]:
    """Pass the results on, with a progress bar and a word about every video that fails."""
    for result in progress(results, description="detect_scenes", total=total):
        if isinstance(result, WorkerFailure):
            log.warning("detect_scenes video marked status=%s", result.reason)
        elif result[-1]["status"] not in (OK, "transition", "too_short"):
            scene = result[-1]
            log.warning(
                "detect_scenes video marked id=%s status=%s", scene["video_id"], scene["status"]
            )
        yield result
