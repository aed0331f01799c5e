"""The frames that scorers see: of a clip, and of what it was cut from."""

import functools
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from opensora.core.errors import VideoError
from opensora.curation.scores.scorer import Scorer, spread
from opensora.curation.scores.seen import Seen, read_seen
from opensora.media.formats import check_file
from opensora.media.timeline import Timeline, timeline
from opensora.media.unchanged import changed, check_unchanged, content_of
from opensora.tables.manifest import make_id

_BEHIND_KEY = 3  # frames: blocks there are up to a tenth more visible than in all, fades apart
_SOURCE_FRAMES = 4  # that are kept: clips of one stretch of a source follow each other
_DIGITS = 12  # of a content, behind the last dash of an id that ingest made
_OF_CONTENT = re.compile(rf".*-[0-9a-f]{{{_DIGITS}}}")


def decode_both(
    clip: Mapping[str, Any], scorers: Sequence[Scorer]
) -> tuple[list[tuple[np.ndarray, list[Seen]]], list[Seen]]:
    """What the scorers see of a clip and of its source; errors as those of the two.

    Raises:
        VideoError: also where clip or source have another content than their tables say.
    """
    check_unchanged(clip["path"], clip["sha256"])
    return _decode(clip, scorers), _decode_source(clip, max(s.needs_source for s in scorers))


def _decode(
    clip: Mapping[str, Any], scorers: Sequence[Scorer]
) -> list[tuple[np.ndarray, list[Seen]]]:
    """Indices and frames that each scorer asks for, from one pass over the file.

    Raises:
        VideoError: the clip is unreadable.
    """
    wanted = [scorer.choose(int(clip["num_frames"])) for scorer in scorers]
    together = sorted({index for indices in wanted for index in indices})
    try:
        frames = read_seen(clip["path"], together, source=_source_of(clip))
    except ValueError as error:  # the file is shorter than its table says
        raise VideoError("corrupt", str(error)) from error
    place = dict(zip(together, frames, strict=True))
    return [(np.array(own), [place[index] for index in own]) for own in wanted]


def _source_of(clip: Mapping[str, Any]) -> Path | None:
    """What a clip was cut from; None where it is the source."""
    return None if clip["source"] in ("", clip["path"]) else Path(clip["source"])


def _decode_source(clip: Mapping[str, Any], count: int) -> list[Seen]:
    """Some frames of what a clip was cut from, as stored, from all over the clip.

    Each is the first of its stretch that is cheap to decode. None where the clip is the source.

    Raises:
        VideoError: the source is unreadable, or shorter than the clip says.
    """
    source = _source_of(clip)
    if not count or source is None:
        return []
    _check_source(source, clip["video_id"])
    check_file(source)
    facts = source.stat()
    read = functools.partial(_source_frame, source, facts.st_size, facts.st_mtime_ns)
    if clip["kind"] == "image":
        return [read(0)]
    line = timeline(source)
    ticks, tick_s = line.ticks()
    edges = [Fraction(str(clip[name])) / tick_s for name in ("start", "end")]
    # times in the table are rounded: half a tick later is inside the frame that is meant
    first, last = (int(np.searchsorted(ticks, float(e) + 0.5, side="right")) - 1 for e in edges)
    wanted = [first + k for k in spread(max(last - first, 1), count)]
    try:
        return [read(index) for index in _cheap(line, wanted)]
    except ValueError as error:
        raise VideoError("changed", str(error)) from error


def _cheap(line: Timeline, wanted: list[int]) -> list[int]:
    """Frames a little behind the keyframe before each that is wanted, none twice.

    A keyframe itself has more blocks than those behind it. Where a file tells no keyframes, the
    wanted ones.
    """
    if line.pts is None or not line.key_pts.size or wanted[-1] >= len(line.pts):
        return wanted
    places = np.searchsorted(line.key_pts, line.pts[wanted], side="right") - 1
    keys = np.searchsorted(line.pts, line.key_pts[places.clip(0)])
    return np.unique(np.minimum(keys + _BEHIND_KEY, wanted)).tolist()  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=_SOURCE_FRAMES)
def _source_frame(path: Path, size: int, mtime_ns: int, index: int) -> Seen:
    """A frame of a source; the same one while the file does not change."""
    return read_seen(path, [index], as_stored=True)[0]


def _check_source(source: Path, video_id: str) -> None:
    """Compare a source with the end of its id, which is of its content.

    Raises:
        VideoError: it is another file now.
    """
    content = content_of(source) if _OF_CONTENT.fullmatch(video_id) else ""
    if content and make_id(video_id, content)[-_DIGITS:] != video_id[-_DIGITS:]:
        raise changed(source)
