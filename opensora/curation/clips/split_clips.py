"""Clips: cut the scenes of every source of a table into files of bounded length."""

import glob
import itertools
import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from opensora.core.errors import OpenSoraError, VideoError
from opensora.core.io import sha256_file
from opensora.core.log import progress
from opensora.curation.clips.clip_files import copy_stretches, read_recipe, write_clip, write_still
from opensora.curation.clips.clip_plan import (
    PlannedClip,
    Row,
    clip_without_file,
    plan_clips,
    recipe_of,
    size_columns,
)
from opensora.curation.clips.lengths import ClipSettings, clip_size
from opensora.curation.isolation import WorkerFailure, map_isolated
from opensora.media.decode import iter_frames, read_frames
from opensora.media.probe import VideoInfo, probe
from opensora.tables.columns import CLIPS, OK

log = logging.getLogger(__name__)
TIMEOUT_S = 300.0  # for a video of no length; see `clips_limit_s`
SLOWEST_FRAMES = 2.0  # frames a second that are decoded and encoded at least


def split_clips(
    scenes: pd.DataFrame,
    clips_dir: str | Path,
    settings: ClipSettings,
    *,
    workers: int = 1,
    timeout_s: float = TIMEOUT_S,
) -> pd.DataFrame:
    """Cut the scenes of a SCENES table into clip files `clips_dir/{id}.mp4` (images: `.png`).

    In mode copy a source that is one scene of an allowed length is its own clip, as images are.
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


def clips_of_source(scenes: list[Row], folder: Path, settings: ClipSettings) -> list[Row]:
    """Rows of CLIPS for all scenes of one source, with their files in the folder.

    Raises:
        OpenSoraError: the files can not be written.
    """
    try:
        info = probe(scenes[0]["path"])
        if info.kind == "image":
            return [_still(scene, info, folder, settings) for scene in scenes]
        pieces = plan_clips(scenes, info, folder, settings)
    except VideoError as error:
        return [clip_without_file(scene, error.reason, error.detail) for scene in scenes]
    good = [piece for piece in pieces if piece.row["status"] == OK]
    made = [piece for piece in good if piece.recipe]
    todo = [piece for piece in made if read_recipe(Path(piece.row["path"])) != piece.recipe]
    if settings.mode == "copy":
        _copy_files(todo, info)
    else:
        _make_files(todo, info)
    for piece in good:
        if piece.row["status"] == OK:
            piece.row["sha256"] = sha256_file(piece.row["path"])
    return [piece.row for piece in pieces]


def clips_limit_s(scenes: list[Row], timeout_s: float) -> float:
    """Seconds that cutting a source may take."""
    frames = max(int(scene["end_frame"]) for scene in scenes)
    return timeout_s + frames / SLOWEST_FRAMES


def _make_files(todo: list[PlannedClip], info: VideoInfo) -> None:
    """Encode the pieces in one pass over the source; mark those that fail."""
    frames = _numbered_frames(todo, info)
    for number, piece in enumerate(todo):
        try:
            write_clip(
                Path(piece.row["path"]),
                _take(frames, piece),
                num_frames=len(piece.offsets),
                size=(piece.row["height"], piece.row["width"]),
                fps=piece.fps,
                recipe=piece.recipe,
            )
        except VideoError as error:
            # what ffmpeg refuses is this clip alone; a broken stream does not go on
            one = error.reason == "encode_failed"
            for lost in [piece] if one else todo[number:]:
                lost.row.update(path="", status=error.reason, detail=error.detail)
            if not one:
                return


def _copy_files(todo: list[PlannedClip], info: VideoInfo) -> None:
    """Copy the pieces in one pass over the source; mark those that fail."""
    if not todo:
        return
    spans = {Path(piece.row["path"]): (piece.first, piece.last) for piece in todo}
    faults = copy_stretches(info, spans, recipe=todo[0].recipe)
    for piece in todo:
        if fault := faults.get(Path(piece.row["path"])):
            piece.row.update(path="", status=fault.reason, detail=fault.detail)


def _numbered_frames(todo: list[PlannedClip], info: VideoInfo) -> Iterator[tuple[int, np.ndarray]]:
    """Frames of the source with their index, from the first to the last that is needed."""
    if not todo:
        return
    height, width = todo[0].row["height"], todo[0].row["width"]
    trims_only = 0 <= info.height - height < 2 and 0 <= info.width - width < 2
    size = None if trims_only else (height, width)
    start = todo[0].first
    frames = iter_frames(info.path, start=start, stop=todo[-1].last, size=size)
    for index, frame in enumerate(frames, start=start):
        yield index, frame[:height, :width]  # an odd row or column is cut off, not blurred away


def _take(source: Iterator[tuple[int, np.ndarray]], piece: PlannedClip) -> Iterator[np.ndarray]:
    """Yield the frames of a piece and leave the source at its end."""
    times = Counter(piece.first + offset for offset in piece.offsets)
    for index, frame in source:
        yield from itertools.repeat(frame, times[index])
        if index + 1 >= piece.last:
            return


def _still(scene: Row, info: VideoInfo, folder: Path, settings: ClipSettings) -> Row:
    """The clip of an image: a PNG, shrunk where it is larger than wanted; to copy, the file."""
    row = clip_without_file(scene)
    if row["status"] != OK:
        return row
    if settings.mode == "copy":
        facts = {"path": str(info.path), "num_frames": 1, "fps": 1.0}
        digest = sha256_file(info.path)
        return {**row, **facts, **size_columns(info.height, info.width), "sha256": digest}
    path = folder / f"{row['id']}.png"
    height, width = clip_size(info.height, info.width, settings.short_side)
    recipe = recipe_of(row["id"], height, width)
    try:
        if read_recipe(path) != recipe:
            pixels = read_frames(info.path, [0])[0]  # [H, W, 3]
            even = clip_size(info.height, info.width, None)
            pixels = pixels[: even[0], : even[1]]
            if pixels.shape[:2] != (height, width):
                pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
            write_still(path, pixels, recipe=recipe)
    except VideoError as error:
        return clip_without_file(scene, error.reason, error.detail)
    made = {"path": str(path), "num_frames": 1, "fps": 1.0, "sha256": sha256_file(path)}
    return {**row, **made, **size_columns(height, width)}
