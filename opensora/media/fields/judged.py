"""How a file was woven, from frames of several places."""

import contextlib
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame

from opensora.core.errors import VideoError
from opensora.media.container import open_video
from opensora.media.fields.combs import (
    COMBED,
    columns_of,
    comb_share,
    may_have_fields,
    order_of,
    share_of,
)
from opensora.media.pictures import frames_of
from opensora.media.timeline import timeline

_SURELY_COMBED = 0.008  # of frames without a flag: scrolling text has 0.005, a slow pan 0.011
_AGREE = 0.8  # share of the frames with combs that must tell the same order
_LEAST_COMBED = 2  # frames
_LEAST_LINES = 144  # half of the smallest format with fields; a smaller frame needs a flag
_PLACES = 5  # keyframes of a file from which frames are looked at
_MOST_DECODED = 150  # frames from the start of a file with fewer keyframes
_HELD_BYTES = 1 << 26  # of frames that are decoded once for both looks
_GLANCE, _LOOK = 4, 12  # neighbouring frames at each: first a few, where they have combs more
_MANY = 500  # frames of pieces of a video that take as long to look at as the video itself
_CYCLE, _CYCLE_COMBED = 5, 2  # frames of 3:2 pulldown, and those of them with two pictures


@dataclass(frozen=True)
class Fields:
    """How the pictures of a file were woven.

    Attributes:
        order: "tff" or "bff", the field that shows the earlier moment; "" of whole pictures.
        is_pulldown: it is film, in two of five frames woven of two pictures.
    """

    order: str = ""
    is_pulldown: bool = False


WHOLE = Fields()


def fields_of(path: Path) -> Fields:
    """How a video was woven; the answer is kept while the file does not change.

    Looks at frames from up to five keyframes on, spread over the file.

    Raises:
        VideoError: the file can not be read.
    """
    facts = path.stat()
    return _fields_of(path, facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _fields_of(path: Path, size: int, mtime_ns: int) -> Fields:
    held = _held(path)
    if not any(_is_suspect(run) for run in _runs(path, _GLANCE, held)):
        return WHOLE
    return judge(_runs(path, _LOOK, held))


def _held(path: Path) -> Sequence[VideoFrame]:
    """All frames that a short clip is judged by, which is then decoded once; else none."""
    line = timeline(path)
    num_bytes = 3 * line.num_frames * line.display_size[0] * line.display_size[1]
    if len(line.key_pts) >= _PLACES or num_bytes > _HELD_BYTES:
        return ()
    try:
        with open_video(path) as (container, stream):
            return list(itertools.islice(frames_of(container, stream), _MOST_DECODED))
    except VideoError:
        return ()  # the runs end where it is damaged


def _is_suspect(run: Sequence[VideoFrame]) -> bool:
    """Whether a longer look is worth it: grain has combs too, but no order of fields."""
    combed = [k for k, frame in enumerate(run) if comb_share(frame) >= COMBED]
    inner = [k for k in combed if 0 < k < len(run) - 1]
    lumas = {k: [columns_of(frame) for frame in run[k - 1 : k + 2]] for k in inner}
    return bool(combed) and (not inner or any(order_of(*lumas[k]) for k in inner))


def _runs(path: Path, length: int, held: Sequence[VideoFrame]) -> Iterator[list[VideoFrame]]:
    """Neighbouring frames from several places of a file; damage ends a run."""
    line = timeline(path)
    if held:
        yield from _runs_among(held, length, min(line.num_frames, _MOST_DECODED))
        return
    if line.pts is None or len(line.key_pts) < _PLACES:
        yield from _first_runs(path, length, min(line.num_frames, _MOST_DECODED))
        return
    for place in np.linspace(0, len(line.key_pts) - 1, _PLACES).astype(int):
        run: list[VideoFrame] = []
        with contextlib.suppress(VideoError), open_video(path) as (container, stream):
            container.seek(int(line.key_pts[place]), stream=stream, backward=True)
            run.extend(itertools.islice(frames_of(container, stream), length))
        yield run


def _first_runs(path: Path, length: int, count: int) -> Iterator[list[VideoFrame]]:
    """Some of the first `count` frames, where no places can be sought."""
    with contextlib.suppress(VideoError), open_video(path) as (container, stream):
        frames = itertools.islice(frames_of(container, stream), count)
        yield from _runs_among(frames, length, count)


def _runs_among(
    frames: Iterable[VideoFrame], length: int, count: int
) -> Iterator[list[VideoFrame]]:
    """Runs of neighbours among `count` frames, evenly spread."""
    step = max(length, (count - length) // (_PLACES - 1))
    run: list[VideoFrame] = []
    for index, frame in enumerate(frames):
        if index % step < length:
            run.append(frame)
        if len(run) == length:
            yield run
            run = []
    yield run


def is_woven(path: Path, frame: VideoFrame, source: Path | None = None) -> bool:
    """Whether a frame is to be made whole; most are found to be without a look at the file.

    Args:
        path: the file of the frame.
        frame: as decoded.
        source: what that file was cut from, which is looked at once for all its clips: pieces of
            whole pictures are whole. It is looked at for a frame that has combs, and for many
            frames, which are then not looked at.
    """
    if source is not None and _is_of_many(source) and _order(source) == "":
        return False
    if comb_share(frame) < COMBED:
        return False
    if source is not None and _order(source) == "":
        return False
    return _order(path) not in ("", None)


_asked: dict[Path, int] = {}  # source -> frames of its pieces that were asked about


def _is_of_many(source: Path) -> bool:
    """Whether so many frames of pieces of a video came that a look at it is the cheaper way."""
    _asked[source] = count = _asked.get(source, 0) + 1
    return count > _MANY


def _order(path: Path) -> str | None:
    """`Fields.order` of a file; None where it is cut off or not there, and shown as it is."""
    try:
        return fields_of(path).order
    except (OSError, VideoError):
        return None


def judge(runs: Iterable[Sequence[VideoFrame]]) -> Fields:
    """Tell how a file was woven from some runs of neighbouring frames."""
    orders: list[str] = []
    is_pulldown = False
    for run in runs:
        if not run or not all(may_have_fields(frame) for frame in run):
            continue
        lumas = [columns_of(frame) for frame in run]
        shares = np.array([share_of(luma) for luma in lumas])
        is_flagged = any(frame.interlaced_frame for frame in run)
        if not is_flagged and run[0].height < _LEAST_LINES:
            continue  # in so few lines any drawing has combs
        least = COMBED if is_flagged else _SURELY_COMBED
        is_pulldown = is_pulldown or _has_cycle(shares >= least)
        for k in range(1, len(run) - 1):
            near = lumas[k - 1 : k + 2]
            if shares[k] >= least:
                orders.append(order_of(*near))
    for order in ("tff", "bff"):
        if len(orders) >= _LEAST_COMBED and orders.count(order) >= _AGREE * len(orders):
            return Fields(order, is_pulldown)
    return WHOLE


def _has_cycle(combed: np.ndarray) -> bool:
    """Whether two neighbours of every five frames have combs, for two cycles at least."""
    if len(combed) < 2 * _CYCLE:
        return False
    for phase in range(_CYCLE):
        place = (np.arange(len(combed)) - phase) % _CYCLE
        if (combed == (place < _CYCLE_COMBED)).all():
            return True
    return False
