"""The frames that scorers see: of a clip, and of what it was cut from."""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from opensora.core.errors import VideoError
from opensora.curation.scores.scorer import Scorer, spread
from opensora.media.decode import read_frames, read_pictures
from opensora.media.timeline import timeline
from opensora.media.unchanged import changed, check_unchanged, content_of
from opensora.tables.manifest import make_id

_DIGITS = 12  # of a content, behind the last dash of an id that ingest made
_OF_CONTENT = re.compile(rf".*-[0-9a-f]{{{_DIGITS}}}")


def decode_both(
    clip: Mapping[str, Any], scorers: Sequence[Scorer]
) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[np.ndarray]]:
    """What the scorers see of a clip and of its source; errors as those of the two.

    Raises:
        VideoError: also where clip or source have another content than their tables say.
    """
    check_unchanged(clip["path"], clip["sha256"])
    return _decode(clip, scorers), _decode_source(clip, max(s.needs_source for s in scorers))


def _decode(
    clip: Mapping[str, Any], scorers: Sequence[Scorer]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices and frames [T, H, W, 3] that each scorer asks for, from one pass over the file.

    Raises:
        VideoError: the clip is unreadable.
    """
    wanted = [scorer.choose(int(clip["num_frames"])) for scorer in scorers]
    together = sorted({index for indices in wanted for index in indices})
    try:
        frames = read_frames(clip["path"], together)
    except ValueError as error:  # the file is shorter than its table says
        raise VideoError("corrupt", str(error)) from error
    place = {index: k for k, index in enumerate(together)}
    return [
        (np.array(own), frames if own == together else frames[[place[index] for index in own]])
        for own in wanted
    ]


def _decode_source(clip: Mapping[str, Any], count: int) -> list[np.ndarray]:
    """Some frames [H, W, 3] of what a clip was cut from, as stored, from all over the clip.

    None where the clip is the source itself.

    Raises:
        VideoError: the source is unreadable, or shorter than the clip says.
    """
    if not count or clip["source"] in ("", clip["path"]):
        return []
    source = Path(clip["source"])
    _check_source(source, clip["video_id"])
    if clip["kind"] == "image":
        return [picture.pixels for picture in read_pictures(source, [0])]
    ticks, tick_s = timeline(source).ticks()
    edges = [Fraction(str(clip[name])) / tick_s for name in ("start", "end")]
    # times in the table are rounded: half a tick later is inside the frame that is meant
    first, last = (int(np.searchsorted(ticks, float(e) + 0.5, side="right")) - 1 for e in edges)
    wanted = [first + k for k in spread(max(last - first, 1), count)]
    try:
        return [picture.pixels for picture in read_pictures(source, wanted)]
    except ValueError as error:
        raise VideoError("changed", str(error)) from error


def _check_source(source: Path, video_id: str) -> None:
    """Compare a source with the end of its id, which is of its content.

    Raises:
        VideoError: it is another file now.
    """
    content = content_of(source) if _OF_CONTENT.fullmatch(video_id) else ""
    if content and make_id(video_id, content)[-_DIGITS:] != video_id[-_DIGITS:]:
        raise changed(source)
