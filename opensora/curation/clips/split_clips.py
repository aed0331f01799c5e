"""Clips: cut the scenes of every source of a table into files of bounded length."""

import itertools
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from opensora.core.errors import OpenSoraError, VideoError
from opensora.core.io import scratch_folder, sha256_file
from opensora.core.log import progress
from opensora.curation.clips.clip_files import copy_stretches, write_clip, write_still
from opensora.curation.clips.clip_plan import PlannedClip, Row, clip_without_file, plan_clips
from opensora.curation.clips.clip_store import ClipStore, scratch_of_job
from opensora.curation.clips.lengths import ClipSettings, clip_size
from opensora.curation.clips.sound import Sounds
from opensora.curation.isolation import WorkerFailure, map_isolated
from opensora.media.decode import iter_frames, read_frames
from opensora.media.probe import VideoInfo, probe
from opensora.media.timeline import timeline
from opensora.tables.columns import CLIPS, OK

log = logging.getLogger(__name__)
TIMEOUT_S = 300.0  # for a video of no length; see `clips_limit_s`
SLOWEST_FRAMES = 2.0  # frames a second that are decoded and encoded at least


@dataclass(frozen=True)
class Source:
    """What a worker takes in hand.

    Attributes:
        scenes: rows of SCENES of one video or image.
        scratch: folder of what is not finished; nobody else writes there.
    """

    scenes: list[Row]
    scratch: Path


def split_clips(
    scenes: pd.DataFrame,
    store: str | Path,
    settings: ClipSettings,
    *,
    workers: int = 1,
    timeout_s: float = TIMEOUT_S,
) -> pd.DataFrame:
    """Cut the scenes of a SCENES table into clip files of a store (see `clip_store`).

    In mode copy a source that is one scene of an allowed length is its own clip, as images are.
    Each source is decoded once, and only where a clip of it is not in the store yet. Jobs and runs
    may share a store at the same time.

    Args:
        scenes: a SCENES table; rows that are not ok are carried through as one marked clip.
        store: folder of the clip files; paths in the table are relative where it is.
        settings: lengths, rate, size, and whether to re-encode.
        workers: processes; one that crashes or takes too long costs its own source.
        timeout_s: seconds that a source may take, on top of its frames.

    Returns:
        A CLIPS table; at least one row per scene, in its order. The rows of a scene cover its
        whole time. Scenes of a video that turns out unreadable get the reason as their status.

    Raises:
        OpenSoraError: the files can not be written.
    """
    records: list[Row] = scenes.to_dict("records")
    groups = [list(group) for _, group in itertools.groupby(records, lambda row: row["video_id"])]
    usable = [group for group in groups if any(scene["status"] == OK for scene in group)]
    with scratch_of_job(Path(store)) as scratch:
        sources = [Source(group, scratch / f"{k:06d}") for k, group in enumerate(usable)]
        results = map_isolated(
            partial(clips_of_source, folder=Path(store), settings=settings),
            sources,
            workers=workers,
            timeout_s=partial(clips_limit_s, timeout_s=timeout_s),
            stage="split_clips",
        )
        done = progress(results, description="split_clips", total=len(usable))
        with closing(results):  # workers end before their scratch goes
            rows = list(_rows(groups, sources, done))
    _check_encoder(rows)
    return pd.DataFrame(rows, columns=list(CLIPS.columns))


def _rows(
    groups: list[list[Row]], sources: list[Source], done: Iterator[list[Row] | WorkerFailure]
) -> Iterator[Row]:
    """Rows of CLIPS of all groups of scenes; those with a good one are the sources."""
    following = iter(sources)
    for group in groups:
        if all(scene["status"] != OK for scene in group):
            yield from (clip_without_file(scene) for scene in group)
            continue
        clips, source = next(done), next(following)
        if isinstance(clips, WorkerFailure):
            shutil.rmtree(source.scratch, ignore_errors=True)  # what it was writing
            detail = f"{group[0]['path']}: {clips.detail}"
            clips = [clip_without_file(scene, clips.reason, detail) for scene in group]
        _warn_of_lost(group, clips)
        yield from clips


def _warn_of_lost(scenes: list[Row], clips: list[Row]) -> None:
    """Log a source of which good scenes were lost."""
    expected = {"too_short", "too_long", "no_key_frame", *(scene["status"] for scene in scenes)}
    lost = next((clip for clip in clips if clip["status"] not in expected), None)
    if lost is not None:
        log.warning("split_clips source marked path=%s status=%s", lost["source"], lost["status"])


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


def clips_of_source(source: Source, folder: Path, settings: ClipSettings) -> list[Row]:
    """Rows of CLIPS for all scenes of one source, with their files in the store.

    Raises:
        OpenSoraError: the files can not be written.
    """
    try:
        info = probe(source.scenes[0]["path"])
        digest = source.scenes[0]["sha256"] or _digest(info)
        pieces = plan_clips(source.scenes, info, digest, folder, settings)
        good = [piece for piece in pieces if piece.row["status"] == OK]
        store = ClipStore(folder, digest)
        for piece in good:
            known = store.find(Path(piece.row["path"])) if piece.recipe else digest
            piece.row["sha256"] = known
        if todo := [piece for piece in good if not piece.row["sha256"]]:
            _check_unchanged(info, digest)
            with scratch_folder(source.scratch):
                _MAKERS[info.kind, settings.mode](todo, info, store, source.scratch)
        store.save()
    except VideoError as error:
        return [clip_without_file(scene, error.reason, error.detail) for scene in source.scenes]
    return [piece.row for piece in pieces]


def _digest(info: VideoInfo) -> str:
    """Hash the source.

    Raises:
        VideoError: it can not be read.
    """
    try:
        return sha256_file(info.path)
    except OSError as error:
        raise VideoError("unreadable", f"{info.path.name}: {error.strerror or error}") from error


def _check_unchanged(info: VideoInfo, digest: str) -> None:
    """Make sure that nothing is stored under another source's address, where it would stay.

    To hash is little beside cutting, and what is in the store already needs no look at its source.

    Raises:
        VideoError: the file is not the one whose scenes were found.
    """
    if _digest(info) != digest:
        raise VideoError(
            "changed",
            f"{info.path.name} is not what it was when its scenes were found; run ingest_videos"
            " and detect_scenes again",
        )


def clips_limit_s(source: Source, timeout_s: float) -> float:
    """Seconds that cutting a source may take."""
    frames = max(int(scene["end_frame"]) for scene in source.scenes)
    return timeout_s + frames / SLOWEST_FRAMES


def _make_files(todo: list[PlannedClip], info: VideoInfo, store: ClipStore, scratch: Path) -> None:
    """Encode the pieces in one pass over the source; mark those that fail."""
    frames = _numbered_frames(todo, info)
    with _sounds(todo, info, scratch) as sound:
        _encode(todo, frames, sound, store, scratch)


def _encode(
    todo: list[PlannedClip],
    frames: Iterator[tuple[int, np.ndarray]],
    sound: Callable[[str], Path | None],
    store: ClipStore,
    scratch: Path,
) -> None:
    for number, piece in enumerate(todo):
        made = scratch / f"{piece.recipe}.mp4"
        try:
            write_clip(
                made,
                _take(frames, piece),
                num_frames=len(piece.offsets),
                size=(piece.row["height"], piece.row["width"]),
                fps=piece.fps,
                recipe=piece.recipe,
                name=piece.row["id"],
                sound=sound(piece.recipe),
            )
            # at once: who is killed now keeps it
            piece.row["sha256"] = store.put(made, Path(piece.row["path"]))
        except VideoError as error:
            # what ffmpeg refuses is this clip alone; a broken stream does not go on
            one = error.reason == "encode_failed"
            for lost in [piece] if one else todo[number:]:
                lost.row.update(path="", status=error.reason, detail=error.detail)
            if not one:
                return


def _copy_files(todo: list[PlannedClip], info: VideoInfo, store: ClipStore, scratch: Path) -> None:
    """Copy the pieces in one pass over the source; mark those that fail."""
    spans = {piece.recipe: (piece.first, piece.last) for piece in todo}
    with _sounds(todo, info, scratch) as sound:
        faults = copy_stretches(info, spans, scratch, sound)
    for piece in todo:
        if fault := faults.get(piece.recipe):
            detail = f"{piece.row['id']}: {fault.detail}"
            piece.row.update(path="", status=fault.reason, detail=detail)
        else:
            made = scratch / f"{piece.recipe}.mp4"
            piece.row["sha256"] = store.put(made, Path(piece.row["path"]))


@contextmanager
def _sounds(
    todo: list[PlannedClip], info: VideoInfo, scratch: Path
) -> Iterator[Callable[[str], Path | None]]:
    """Something that writes the sound of a recipe, the earlier ones first; None where it has none.

    There is one file at a time, which the next one takes the place of.

    Raises:
        VideoError: the sound is there and can not be read.
    """
    wanted = {piece.recipe: piece.sound for piece in todo if piece.sound}
    if not wanted:
        yield lambda recipe: None
        return
    file = scratch / "sound.f32"
    with closing(Sounds(info.path, timeline(info.path))) as sounds:
        yield lambda recipe: file if sounds.write(file, wanted[recipe]) else None


def _make_stills(todo: list[PlannedClip], info: VideoInfo, store: ClipStore, scratch: Path) -> None:
    """Write the image, trimmed to even sides and shrunk where it is larger than wanted."""
    for piece in todo:
        height, width = piece.row["height"], piece.row["width"]
        pixels = read_frames(info.path, [0])[0]  # [H, W, 3]
        even = clip_size(info.height, info.width, None)
        pixels = pixels[: even[0], : even[1]]
        if pixels.shape[:2] != (height, width):
            pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        made = scratch / f"{piece.recipe}.png"
        write_still(made, pixels, recipe=piece.recipe)
        piece.row["sha256"] = store.put(made, Path(piece.row["path"]))


def _numbered_frames(todo: list[PlannedClip], info: VideoInfo) -> Iterator[tuple[int, np.ndarray]]:
    """Frames of the source with their index, from the first to the last that is needed."""
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


_MAKERS = {
    ("image", "reencode"): _make_stills,
    ("video", "reencode"): _make_files,
    ("video", "copy"): _copy_files,
}
