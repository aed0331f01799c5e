"""Clips: cut each scene into files of bounded length, decoding each source video once."""

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from opensora.core.errors import VideoError
from opensora.core.io import sha256_file
from opensora.core.logging import progress
from opensora.core.seed import derive_seed
from opensora.curation.clip_files import CRF, PRESET, read_recipe, write_clip, write_still
from opensora.curation.cutting import ClipSettings, choose_frames, clip_size, split_span
from opensora.media.decode import iter_frames, read_frames
from opensora.media.probe import VideoInfo, probe
from opensora.tables.columns import CLIPS, OK

log = logging.getLogger(__name__)

VERSION = 1  # part of every recipe: raise it when the same settings give other clips


@dataclass(frozen=True)
class _Piece:
    """One clip to be: its row so far, source frames [first, last), its rate and recipe."""

    row: dict[Any, Any]
    first: int
    last: int
    fps: Fraction
    recipe: str


def split_clips(
    scenes: pd.DataFrame, clips_dir: str | Path, settings: ClipSettings
) -> pd.DataFrame:
    """Cut the scenes of a SCENES table into clip files `clips_dir/{id}.mp4` (images: `.png`).

    Clip files that an earlier run finished with the same settings are kept as they are.

    Args:
        scenes: a SCENES table; rows that are not ok are carried through as one marked clip.
        clips_dir: folder of the clip files.
        settings: lengths, rate and size.

    Returns:
        A CLIPS table; at least one row per scene, in its order. The rows of a scene cover its
        whole time. Scenes of a video that turns out unreadable get the reason as their status.
    """
    folder = Path(clips_dir)
    folder.mkdir(parents=True, exist_ok=True)
    records = scenes.to_dict("records")
    groups = [list(group) for _, group in itertools.groupby(records, lambda row: row["video_id"])]
    rows: list[dict[Any, Any]] = []
    for group in progress(groups, description="split_clips"):
        rows.extend(_clips_of_source(group, folder, settings))
    return pd.DataFrame(rows, columns=list(CLIPS.columns))


def _clips_of_source(
    scenes: list[dict[Any, Any]], folder: Path, settings: ClipSettings
) -> list[dict[Any, Any]]:
    """Rows of CLIPS for all scenes of one source."""
    if all(scene["status"] != OK for scene in scenes):
        return [_marked(scene) for scene in scenes]
    try:
        info = probe(scenes[0]["path"])
    except VideoError as error:
        return [_marked(scene, error) for scene in scenes]
    if info.kind == "image":
        return [_still(scene, info, folder, settings) for scene in scenes]
    rows: list[dict[Any, Any]] = []
    pieces: list[_Piece] = []
    for scene in scenes:
        if scene["status"] == OK:
            planned = _plan(scene, info, folder, settings)
            rows.extend(piece.row for piece in planned)
            pieces.extend(piece for piece in planned if piece.row["status"] == OK)
        else:
            rows.append(_marked(scene))
    _make_files(pieces, info)
    return rows


def _plan(
    scene: dict[Any, Any], info: VideoInfo, folder: Path, settings: ClipSettings
) -> list[_Piece]:
    """Cut one scene on paper."""
    fewest, most = settings.frame_limits(info.fps)
    fps = settings.clip_fps(info.fps)
    height, width = clip_size(info.height, info.width, settings.short_side)
    spans = split_span(int(scene["start_frame"]), int(scene["end_frame"]), most)
    pieces = []
    for number, (first, last) in enumerate(spans):
        identity = f"{scene['id']}_{number:03d}"
        row = {
            **_marked(scene),
            "id": identity,
            "start": round(float(first / info.fps), 6),
            "end": round(float(last / info.fps), 6),
        }
        if last - first < fewest:
            length = float((last - first) / info.fps)
            detail = f"{length:.3f} s is shorter than the minimum of {settings.min_s:g} s"
            row |= {"status": "too_short", "detail": detail}
        else:
            num_frames = len(choose_frames(last - first, info.fps, fps))
            row |= {"path": str(folder / f"{identity}.mp4"), "num_frames": num_frames}
            row |= {"fps": float(fps), **_size_columns(height, width)}
        recipe = _recipe(identity, first, last, info.fps, fps, height, width)
        pieces.append(_Piece(row, first, last, fps, recipe))
    return pieces


def _make_files(pieces: list[_Piece], info: VideoInfo) -> None:
    """Encode the pieces that are not there yet, in one pass over the source; complete the rows."""
    todo = [piece for piece in pieces if read_recipe(Path(piece.row["path"])) != piece.recipe]
    source = _numbered_frames(todo, info)
    for number, piece in enumerate(todo):
        try:
            _encode(piece, source, info)
        except VideoError as error:
            log.warning("split_clips source marked path=%s status=%s", info.path, error.reason)
            for lost in todo[number:]:  # a broken stream does not go on
                lost.row.update(path="", status=error.reason, detail=error.detail)
            break
    for piece in pieces:
        if piece.row["status"] == OK:
            piece.row["sha256"] = sha256_file(piece.row["path"])


def _numbered_frames(todo: list[_Piece], info: VideoInfo) -> Iterator[tuple[int, np.ndarray]]:
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


def _encode(piece: _Piece, source: Iterator[tuple[int, np.ndarray]], info: VideoInfo) -> None:
    offsets = choose_frames(piece.last - piece.first, info.fps, piece.fps)
    wanted = {piece.first + offset for offset in offsets}
    write_clip(
        Path(piece.row["path"]),
        _take(source, wanted, piece.last),
        num_frames=len(wanted),
        size=(piece.row["height"], piece.row["width"]),
        fps=piece.fps,
        recipe=piece.recipe,
    )


def _take(
    source: Iterator[tuple[int, np.ndarray]], wanted: set[int], last: int
) -> Iterator[np.ndarray]:
    """Yield the wanted frames and leave the source at frame `last`."""
    for index, frame in source:
        if index in wanted:
            yield frame
        if index + 1 >= last:
            return


def _still(
    scene: dict[Any, Any], info: VideoInfo, folder: Path, settings: ClipSettings
) -> dict[Any, Any]:
    """The clip of an image: a PNG, shrunk where it is larger than wanted."""
    row = _marked(scene)
    path = folder / f"{row['id']}.png"
    height, width = clip_size(info.height, info.width, settings.short_side)
    recipe = _recipe(row["id"], height, width)
    try:
        if read_recipe(path) != recipe:
            pixels = read_frames(info.path, [0])[0]  # [H, W, 3]
            even = clip_size(info.height, info.width, None)
            pixels = pixels[: even[0], : even[1]]
            if pixels.shape[:2] != (height, width):
                pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
            write_still(path, pixels, recipe=recipe)
    except VideoError as error:
        return _marked(scene, error)
    made = {"path": str(path), "num_frames": 1, "fps": 1.0, "sha256": sha256_file(path)}
    return {**row, **made, **_size_columns(height, width)}


def _marked(scene: dict[Any, Any], error: VideoError | None = None) -> dict[Any, Any]:
    """The row of a whole scene without a file; keeps the scene's own mark if it has one."""
    status, detail = scene["status"], scene["detail"]
    if error is not None and status == OK:
        status, detail = error.reason, error.detail
    return {
        "id": f"{scene['id']}_000",
        "video_id": scene["video_id"],
        "path": "",
        "kind": scene["kind"],
        "source": scene["path"],
        "start": scene["start"],
        "end": scene["end"],
        "num_frames": 0,
        "fps": 0.0,
        **_size_columns(0, 0),
        "sha256": "",
        "status": status,
        "detail": detail,
    }


def _size_columns(height: int, width: int) -> dict[str, float]:
    ratio = round(height / width, 6) if width else 0.0
    return {
        **{"height": height, "width": width},
        **{"aspect_ratio": ratio, "resolution": height * width},
    }


def _recipe(identity: str, *parts: object) -> str:
    """Everything that decides a clip's content; the id itself comes from the source's bytes."""
    return f"{derive_seed('clip', VERSION, CRF, PRESET, identity, *parts):016x}"
