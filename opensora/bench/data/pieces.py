"""Many short clips of a few videos, no two the same.

Passes over the videos, each with pieces a frame longer than those of the pass before.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.core.errors import OpenSoraError
from opensora.curation.clips.lengths import ClipSettings
from opensora.curation.clips.split_clips import split_clips
from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.tables.columns import CLIPS, OK, SCENES, VIDEOS
from opensora.tables.io import write_table

SHORT_SIDE_PX = 256
FEWEST_FRAMES = 24  # of a clip of the first pass


def make_clips(videos: Sequence[str], count: int, folder: Path, workers: int) -> pd.DataFrame:
    """Cut `count` clips; write VIDEOS, SCENES and CLIPS of them into the folder.

    Raises:
        OpenSoraError: no good video, or a clip can not be cut.
    """
    table = ingest_videos(videos, workers=workers)
    good = table[(table["status"] == OK) & (table["kind"] == "video")]
    if good.empty or good["num_frames"].max() < FEWEST_FRAMES:
        raise OpenSoraError(f"{', '.join(videos)}: no video of {FEWEST_FRAMES} frames; give longer")
    settings = ClipSettings(min_s=0.1, max_s=60.0, short_side=SHORT_SIDE_PX)
    scenes: list[pd.DataFrame] = []
    clips: list[pd.DataFrame] = []
    for length in _lengths(good, count):
        tiles = pd.DataFrame(_tiles(good, length))[: count - sum(len(part) for part in clips)]
        cut = split_clips(tiles, folder / "clips", settings, workers=workers)
        if (bad := cut[cut["status"] != OK]).shape[0]:
            raise OpenSoraError(f"bench: a clip could not be cut: {bad['detail'].iloc[0]}")
        scenes.append(tiles)
        clips.append(cut)
    used = good[good["id"].isin(pd.concat(scenes)["video_id"])]
    for rows, kind in ((used, VIDEOS), (pd.concat(scenes), SCENES), (pd.concat(clips), CLIPS)):
        write_table(rows.reset_index(drop=True), folder / f"{kind.name}.csv", kind)
    return pd.concat(clips)


def _lengths(videos: pd.DataFrame, count: int) -> Iterator[int]:
    """Frames of the clips of each pass, until there are enough clips."""
    length, made = FEWEST_FRAMES, 0
    while made < count:
        pieces = int((videos["num_frames"] // length).sum())
        if not pieces:
            raise OpenSoraError(f"{count} different clips are more than these videos hold")
        made += pieces
        yield length
        length += 1


def _tiles(videos: pd.DataFrame, length: int) -> Iterator[dict[str, Any]]:
    """Rows of SCENES: each video in pieces of this many frames, without its rest."""
    for video in videos.to_dict("records"):
        for first in range(0, video["num_frames"] - length + 1, length):
            row = {name: video[name] for name in ("path", "kind", "sha256", "status", "detail")}
            row |= {"id": f"{video['id']}_{length:03d}_{first:06d}", "video_id": video["id"]}
            row |= {"start_frame": first, "end_frame": first + length}
            yield row | {"start": first / video["fps"], "end": (first + length) / video["fps"]}
