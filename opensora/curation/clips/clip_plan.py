"""Which clips the scenes of a source become: rows and frames, before any file is written."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from opensora.core.errors import VideoError
from opensora.core.seed import derive_seed
from opensora.curation.clips.clip_files import CRF, PRESET
from opensora.curation.clips.lengths import (
    ClipSettings,
    choose_frames,
    clip_size,
    group_stretches,
    split_span,
)
from opensora.media.container import timeline
from opensora.media.probe import VideoInfo
from opensora.tables.columns import OK

VERSION = 1  # part of every recipe: raise it when the same settings give other clips
COPYABLE = ("h264", "hevc", "vp9", "av1")  # codecs whose packets an MP4 file takes as they are

Row = dict[Any, Any]


@dataclass(frozen=True)
class PlannedClip:
    """One clip to be.

    Attributes:
        row: of CLIPS, as far as it is known; a status that is not ok means that no file is made.
        first: of the source's frames.
        last: frame behind the last.
        fps: rate of the clip.
        offsets: frames that it shows, counted from `first`; unused by a copy, which shows all.
        recipe: see `clip_files`; "" where the source itself is the clip, and no file is made.
    """

    row: Row
    first: int
    last: int
    fps: Fraction
    offsets: list[int]
    recipe: str


@dataclass(frozen=True)
class SourceVideo:
    """A video and the times of its frames, see `cutting`."""

    info: VideoInfo
    ticks: np.ndarray
    tick_s: Fraction

    @classmethod
    def of(cls, info: VideoInfo) -> "SourceVideo":
        """Look the times up."""
        return cls(info, *timeline(info.path).ticks())

    def seconds(self, frame: int) -> float:
        """When a frame appears."""
        return round(float(int(self.ticks[frame]) * self.tick_s), 6)

    def length(self, span: tuple[int, int]) -> int:
        """Ticks that frames [first, last) last."""
        return int(self.ticks[span[1]] - self.ticks[span[0]])


def plan_clips(
    scenes: Sequence[Row], info: VideoInfo, folder: Path, settings: ClipSettings
) -> list[PlannedClip]:
    """Cut all scenes of a video on paper; marked scenes become marked pieces.

    The pieces of a scene cover its whole time.

    Raises:
        VideoError: the video is shorter than when its scenes were found.
    """
    source = SourceVideo.of(info)
    pieces: list[PlannedClip] = []
    for scene in scenes:
        span = int(scene["start_frame"]), int(scene["end_frame"])
        if scene["status"] != OK:
            pieces.append(PlannedClip(clip_without_file(scene), *span, info.fps, [], ""))
            continue
        if span[1] > info.num_frames:
            raise VideoError(
                "changed",
                f"{info.path.name} has {info.num_frames} frames, its scenes were found in more;"
                " run ingest_videos and detect_scenes again",
            )
        plan = _plan_copies if settings.mode == "copy" else _plan
        pieces.extend(plan(scene, span, source, folder, settings))
    if settings.mode == "copy":  # made in one go, so that one recipe stands for all
        spans = [(piece.first, piece.last) for piece in pieces if piece.row["status"] == OK]
        recipe = recipe_of(scenes[0]["video_id"], "copy", *spans)
        pieces = [
            replace(piece, recipe="" if piece.row["path"] == str(info.path) else recipe)
            for piece in pieces
        ]
    return pieces


def clip_without_file(scene: Row, reason: str = OK, detail: str = "") -> Row:
    """The row of a whole scene without a file; keeps the scene's own mark if it has one."""
    if scene["status"] != OK:
        reason, detail = scene["status"], scene["detail"]
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
        **size_columns(0, 0),
        "sha256": "",
        "status": reason,
        "detail": detail,
    }


def size_columns(height: int, width: int) -> dict[str, float]:
    """The columns that follow from a size."""
    ratio = round(height / width, 6) if width else 0.0
    return {
        **{"height": height, "width": width},
        **{"aspect_ratio": ratio, "resolution": height * width},
    }


def recipe_of(identity: str, *parts: object) -> str:
    """Everything that decides a clip's content; the id itself comes from the source's bytes."""
    return f"{derive_seed('clip', VERSION, CRF, PRESET, identity, *parts):016x}"


def _plan(
    scene: Row, whole: tuple[int, int], source: SourceVideo, folder: Path, settings: ClipSettings
) -> list[PlannedClip]:
    """Cut one scene at any frame."""
    info = source.info
    fps = settings.clip_fps(info.fps)
    size = clip_size(info.height, info.width, settings.short_side)
    _, most = settings.tick_limits(source.tick_s)
    pieces = []
    for number, span in enumerate(split_span(source.ticks, *whole, most)):
        row = _row(scene, number, span, source, settings)
        offsets: list[int] = []
        if row["status"] == OK:
            offsets = choose_frames(source.ticks[span[0] : span[1] + 1], source.tick_s, fps)
            row |= {"path": str(folder / f"{row['id']}.mp4"), "num_frames": len(offsets)}
            row |= {"fps": float(fps), **size_columns(*size)}
        times = ("variable", *offsets) if info.is_variable else ()
        recipe = recipe_of(row["id"], *span, info.fps, fps, *size, *times)
        pieces.append(PlannedClip(row, *span, fps, offsets, recipe))
    return pieces


def _plan_copies(
    scene: Row, whole: tuple[int, int], source: SourceVideo, folder: Path, settings: ClipSettings
) -> list[PlannedClip]:
    """Cut one scene at its keyframes; what lies outside them gets marked rows.

    A file that is one scene and not too long is its own clip.
    """
    info, (first, last) = source.info, whole
    _, most = settings.tick_limits(source.tick_s)
    if whole == (0, info.num_frames) and source.length(whole) <= most:
        row = _row(scene, 0, whole, source, settings)
        if row["status"] == OK:
            row |= {"path": str(info.path), "num_frames": last, "fps": float(info.fps)}
            row |= size_columns(info.height, info.width)
        return [PlannedClip(row, first, last, info.fps, [], "")]
    keys = timeline(info.path).cut_frames.tolist() if info.codec in COPYABLE else []
    points = [frame for frame in [*keys, info.num_frames] if first <= frame <= last]
    inside = group_stretches(source.ticks, points, most)
    begin, end = (points[0], points[-1]) if inside else (last, last)
    outside = [span for span in ((first, begin), (end, last)) if span[0] < span[1]]
    pieces = []
    for number, span in enumerate(sorted([*inside, *outside])):
        row = _row(scene, number, span, source, settings)
        if span in outside:
            detail = "it can not be copied, because it does not lie between keyframes"
            row |= {"status": "no_key_frame", "detail": detail}
        elif row["status"] == OK:
            row |= {"path": str(folder / f"{row['id']}.mp4"), "num_frames": span[1] - span[0]}
            row |= {"fps": float(info.fps), **size_columns(info.height, info.width)}
        pieces.append(PlannedClip(row, span[0], span[1], info.fps, [], ""))
    return pieces


def _row(
    scene: Row, number: int, span: tuple[int, int], source: SourceVideo, settings: ClipSettings
) -> Row:
    """The row of a piece, marked where its length is out of bounds."""
    fewest, most = settings.tick_limits(source.tick_s)
    length = source.length(span)
    seconds = float(length * source.tick_s)
    row = {
        **clip_without_file(scene),
        "id": f"{scene['id']}_{number:03d}",
        "start": source.seconds(span[0]),
        "end": source.seconds(span[1]),
    }
    if length < fewest:
        detail = f"{seconds:.3f} s is shorter than the minimum of {settings.min_s:g} s"
        row |= {"status": "too_short", "detail": detail}
    elif length > most:
        detail = f"{seconds:.3f} s can not be parted, the maximum is {settings.max_s:g} s"
        row |= {"status": "too_long", "detail": detail}
    return row
