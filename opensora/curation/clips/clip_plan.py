"""Which clips the scenes of a source become: rows and frames, before any file is written."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from opensora.core.errors import VideoError
from opensora.curation.clips.clip_files import CRF, PRESET
from opensora.curation.clips.clip_store import address
from opensora.curation.clips.lengths import (
    ClipSettings,
    choose_frames,
    clip_size,
    group_stretches,
    split_span,
)
from opensora.curation.clips.sound import BIT_RATE, CHANNELS, CODEC, RATE, Stretch
from opensora.media.probe import VideoInfo
from opensora.media.timeline import timeline
from opensora.tables.columns import OK

VERSION = 2  # part of every recipe: raise it when the same settings give other clips
_RECIPE_DIGITS = 32  # 128 bits: among 10^12 clips of all runs no two meet
_SOUND = ("sound", CODEC, BIT_RATE, RATE, CHANNELS)  # of a recipe, where the clip has any
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
        recipe: see `recipe_of`; "" where the source itself is the clip, and no file is made.
        sound: what of the source's sound it holds; None is nothing.
    """

    row: Row
    first: int
    last: int
    fps: Fraction
    offsets: list[int]
    recipe: str
    sound: Stretch | None = None


@dataclass(frozen=True)
class SourceVideo:
    """A video, the sha256 of its file, and the times of its frames, see `lengths`."""

    info: VideoInfo
    digest: str
    ticks: np.ndarray
    tick_s: Fraction

    @classmethod
    def of(cls, info: VideoInfo, digest: str) -> "SourceVideo":
        """Look the times up."""
        return cls(info, digest, *timeline(info.path).ticks())

    def seconds(self, frame: int) -> float:
        """When a frame appears."""
        return round(float(int(self.ticks[frame]) * self.tick_s), 6)

    def length(self, span: tuple[int, int]) -> int:
        """Ticks that frames [first, last) last."""
        return int(self.ticks[span[1]] - self.ticks[span[0]])

    def sound(self, first: int, seconds: Fraction, settings: ClipSettings) -> Stretch | None:
        """The sound from a frame on, where it is wanted and there is any."""
        if settings.audio != "keep" or not self.info.has_audio:
            return None
        return Stretch(self.seconds(first), float(seconds))


def plan_clips(
    scenes: Sequence[Row], info: VideoInfo, digest: str, store: Path, settings: ClipSettings
) -> list[PlannedClip]:
    """Cut all scenes of a source on paper; marked scenes become marked pieces.

    The pieces of a scene cover its whole time.

    Args:
        scenes: rows of SCENES.
        info: their video or image.
        digest: sha256 of that file.
        store: folder of the clip store.
        settings: lengths, rate, size and mode.

    Raises:
        VideoError: the video is shorter than when its scenes were found.
    """
    source = SourceVideo.of(info, digest) if info.kind == "video" else None
    pieces: list[PlannedClip] = []
    for scene in scenes:
        span = int(scene["start_frame"]), int(scene["end_frame"])
        if scene["status"] != OK:
            pieces.append(PlannedClip(clip_without_file(scene), *span, info.fps, [], ""))
        elif source is None:
            pieces.append(_plan_still(scene, info, digest, store, settings))
        elif span[1] > info.num_frames:
            raise VideoError(
                "changed",
                f"{info.path.name} has {info.num_frames} frames, its scenes were found in more;"
                " run ingest_videos and detect_scenes again",
            )
        else:
            plan = _plan_copies if settings.mode == "copy" else _plan
            pieces.extend(plan(scene, span, source, store, settings))
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


def recipe_of(digest: str, mode: str, *parts: object) -> str:
    """Hash everything that decides a clip's content: its address in the store, 32 digits.

    What else matters follows from the file whose sha256 this is: when its frames appear, how they
    are turned, the shape of their pixels, their colours. Neither id nor name of it is here, so a
    renamed video keeps its clips. That clips are H.264 4:2:0 BT.709, how frames are scaled and
    encoded, and what a copy leaves out is `VERSION`. The releases of ffmpeg and PyAV are left out
    on purpose: others may give other bytes for the same frames, and nobody wants to cut all
    footage again for that; the clip that is there stays, and its sha256 stands in the table.

    Args:
        digest: sha256 of the video or image.
        mode: `reencode`, `copy` or `still in sRGB`.
        parts: what of it is taken, and in which form.
    """
    text = "\x1f".join(str(part) for part in ("clip", VERSION, digest, mode, *parts))
    return hashlib.sha256(text.encode()).hexdigest()[:_RECIPE_DIGITS]


def _plan_still(
    scene: Row, info: VideoInfo, digest: str, store: Path, settings: ClipSettings
) -> PlannedClip:
    """The clip of an image: a PNG, shrunk where it is larger than wanted; to copy, the file."""
    row = clip_without_file(scene) | {"num_frames": 1, "fps": 1.0}
    if settings.mode == "copy":
        row |= {"path": str(info.path), **size_columns(info.height, info.width)}
        return PlannedClip(row, 0, 1, info.fps, [], "")
    size = clip_size(info.height, info.width, settings.short_side)
    recipe = recipe_of(digest, "still in sRGB", *size)
    row |= {"path": str(address(store, recipe, ".png")), **size_columns(*size)}
    return PlannedClip(row, 0, 1, info.fps, [0], recipe)


def _plan(
    scene: Row, whole: tuple[int, int], source: SourceVideo, store: Path, settings: ClipSettings
) -> list[PlannedClip]:
    """Cut one scene at any frame."""
    info = source.info
    size = clip_size(info.height, info.width, settings.short_side)
    _, most = settings.tick_limits(source.tick_s)
    pieces = []
    for number, span in enumerate(split_span(source.ticks, *whole, most)):
        row = _row(scene, number, span, source, settings)
        offsets: list[int] = []
        ticks, uneven = source.ticks[span[0] : span[1] + 1], info.is_variable
        fps = settings.clip_fps(info.fps)
        if uneven:
            fps = settings.uneven_fps(ticks, source.tick_s)
        recipe, sound = "", None
        if row["status"] == OK:
            offsets = choose_frames(ticks, source.tick_s, fps, is_variable=uneven)
            offsets = offsets[: settings.most_frames(fps)]
            form = (CRF, PRESET, fps, *size)
            shown = (span[0] + offset for offset in offsets)  # these frames, and no others
            sound = source.sound(span[0], len(offsets) / fps, settings)
            heard = _SOUND if sound else ()
            recipe = recipe_of(source.digest, "reencode", *form, *shown, *heard)
            row |= {"path": str(address(store, recipe, ".mp4")), "num_frames": len(offsets)}
            row |= {"fps": float(fps), **size_columns(*size)}
        pieces.append(PlannedClip(row, *span, fps, offsets, recipe, sound))
    return pieces


def _plan_copies(
    scene: Row, whole: tuple[int, int], source: SourceVideo, store: Path, settings: ClipSettings
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
        recipe, sound = "", None
        if span in outside:
            detail = "it can not be copied, because it does not lie between keyframes"
            row |= {"status": "no_key_frame", "detail": detail}
        elif row["status"] == OK:
            sound = source.sound(span[0], source.length(span) * source.tick_s, settings)
            heard = _SOUND if sound else ()
            recipe = recipe_of(source.digest, "copy", *span, *heard)  # each of its own
            row |= {"path": str(address(store, recipe, ".mp4")), "num_frames": span[1] - span[0]}
            row |= {"fps": float(info.fps), **size_columns(info.height, info.width)}
        pieces.append(PlannedClip(row, span[0], span[1], info.fps, [], recipe, sound))
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
