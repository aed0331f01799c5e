"""Cut the scenes of one source into clip files; runs in worker processes."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from opensora.core.errors import VideoError
from opensora.core.io import sha256_file
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
from opensora.media.decode import iter_frames, read_frames
from opensora.media.probe import VideoInfo, probe
from opensora.tables.columns import OK

SLOWEST_FRAMES = 2.0  # frames a second that are decoded and encoded at least


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
    todo = [piece for piece in good if read_recipe(Path(piece.row["path"])) != piece.recipe]
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
    """The clip of an image: a PNG, shrunk where it is larger than wanted."""
    row = clip_without_file(scene)
    if row["status"] != OK:
        return row
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
