"""Interlaced pictures: found by what they show, and one whole picture made of each.

A frame of two fields is two moments woven row by row, and shows combs where something moves. Flags
tell little: whole pictures travel in streams that call themselves interlaced, and captures of true
fields in files that do not. So a file is interlaced where frames show combs *and* the order of the
fields can be told from their neighbours (as FFmpeg's `idet` does); for frames without a flag more
combs are asked for, as text that scrolls fools `idet`. Film in fields (3:2 pulldown) has combs in
two of five frames. In such a file every frame with combs goes through `bwdif`, the others stay.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import av.filter
import cv2
import numpy as np
from av.video.frame import VideoFrame

from opensora.core.errors import VideoError
from opensora.media.container import open_video
from opensora.media.pictures import frames_of
from opensora.media.timeline import timeline

Numbered = Iterator[tuple[int, VideoFrame]]
COMBED = 0.002  # share of pixels in rows that alternate, from which a frame may show two fields
_SURELY_COMBED = 0.008  # of frames without a flag: scrolling text has 0.005, a slow pan 0.011
_ALTERNATES = 8  # levels of 256
_CLEAR_ORDER = 1.1  # by how much one order of the fields fits better; `idet` takes 1.04
_ONE_FIELD = 1.4  # by how much neighbours may fit worse than the rows of the frame itself
_AGREE = 0.8  # share of the frames with combs that must tell the same order
_LEAST_COMBED = 2  # frames
_LEAST_LINES = 144  # half of the smallest format with fields; a smaller frame needs a flag
_MOST_LINES = 1152  # no format with fields is taller
_COLUMNS = 256  # looked at in a row
_PLACES = 5  # keyframes of a file from which frames are looked at
_MOST_DECODED = 150  # frames from the start of a file with fewer keyframes
_HELD_BYTES = 1 << 26  # of frames that are decoded once for both looks
_GLANCE, _LOOK = 4, 12  # neighbouring frames at each: first a few, where they have combs more
_CYCLE, _CYCLE_COMBED = 5, 2  # frames of 3:2 pulldown, and those of them with two pictures
_PLANAR_8 = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "gray", "nv12"})


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
    lumas = {k: [_luma(frame) for frame in run[k - 1 : k + 2]] for k in inner}
    return bool(combed) and (not inner or any(_order(*lumas[k]) for k in inner))


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


def is_woven(path: Path, frame: VideoFrame) -> bool:
    """Whether a frame is to be made whole; most are found to be without a look at the file."""
    if comb_share(frame) < COMBED:
        return False
    try:
        return fields_of(path).order != ""
    except VideoError:
        return False  # it is cut off: what is there is shown as it is


def whole_pictures(path: Path, frames: Numbered, again: Callable[[int], Numbered]) -> Numbered:
    """Frames of a file, those with combs deinterlaced, as many as came.

    What a frame becomes depends on it and its neighbours, not on where reading began.

    Args:
        path: the file.
        frames: numbered, without gaps.
        again: gives frames from a number on, another time.
    """
    for index, frame in frames:
        if is_woven(path, frame):
            break
        yield index, frame
    else:
        return
    for number, frame in deinterlaced(again(max(0, index - 1)), fields_of(path)):
        if number >= index:
            yield number, frame


def comb_share(frame: VideoFrame) -> float:
    """Share of a frame's pixels, 0 to 1, at which four rows alternate between dark and bright."""
    return _comb_share(_luma(frame)) if _may_have_fields(frame) else 0.0


def judge(runs: Iterable[Sequence[VideoFrame]]) -> Fields:
    """Tell how a file was woven from some runs of neighbouring frames."""
    orders: list[str] = []
    is_pulldown = False
    for run in runs:
        if not run or not all(_may_have_fields(frame) for frame in run):
            continue
        lumas = [_luma(frame) for frame in run]
        shares = np.array([_comb_share(luma) for luma in lumas])
        is_flagged = any(frame.interlaced_frame for frame in run)
        if not is_flagged and run[0].height < _LEAST_LINES:
            continue  # in so few lines any drawing has combs
        least = COMBED if is_flagged else _SURELY_COMBED
        is_pulldown = is_pulldown or _has_cycle(shares >= least)
        for k in range(1, len(run) - 1):
            near = lumas[k - 1 : k + 2]
            if shares[k] >= least:
                orders.append(_order(*near))
    for order in ("tff", "bff"):
        if len(orders) >= _LEAST_COMBED and orders.count(order) >= _AGREE * len(orders):
            return Fields(order, is_pulldown)
    return WHOLE


def deinterlaced(frames: Numbered, fields: Fields) -> Numbered:
    """Make whole pictures of the frames with combs, by what is shown before and after each.

    Args:
        frames: numbered, without gaps; what is wanted and a frame more on either side.
        fields: how they were woven.

    Yields:
        As many frames, with the numbers and times that came.
    """
    graph: av.filter.Graph | None = None
    form: tuple[object, ...] = ()
    waiting: list[tuple[int, VideoFrame]] = []
    for index, frame in frames:
        new_form = (frame.width, frame.height, frame.format.name)
        if graph is None or new_form != form:
            if graph is not None:
                yield from _finish(graph, waiting)
            graph, form, waiting = _graph(frame, fields.order), new_form, []
        waiting.append((index, frame))
        graph.vpush(frame)
        yield from _pull(graph, waiting)
    if graph is not None:
        yield from _finish(graph, waiting)


def _graph(frame: VideoFrame, order: str) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    nodes = (source, graph.add("bwdif", f"mode=send_frame:parity={order}:deint=all"))
    graph.link_nodes(*nodes, graph.add("buffersink"))
    graph.configure()
    return graph


def _pull(graph: av.filter.Graph, waiting: list[tuple[int, VideoFrame]]) -> Numbered:
    """What the filter has ready; it gives one frame for each, in their order."""
    while waiting:
        try:
            made = graph.vpull()
        except (BlockingIOError, EOFError):
            return
        index, frame = waiting.pop(0)
        if comb_share(frame) < COMBED:
            yield index, frame
            continue
        made.pts, made.time_base = frame.pts, frame.time_base  # the filter halves the ticks
        yield index, made


def _finish(graph: av.filter.Graph, waiting: list[tuple[int, VideoFrame]]) -> Numbered:
    graph.vpush(None)  # or the last frame stays inside
    yield from _pull(graph, waiting)


def _may_have_fields(frame: VideoFrame) -> bool:
    return 32 <= frame.height <= _MOST_LINES and frame.width >= 32


def _luma(frame: VideoFrame) -> np.ndarray:
    """Some columns of the luma, int16 [H, W] in 8 bits."""
    if frame.format.name in _PLANAR_8:
        plane = frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        luma = rows[: frame.height, : frame.width]
    else:
        luma = frame.reformat(format="gray").to_ndarray().astype(np.uint8, copy=False)
    return luma[:, :: max(1, luma.shape[1] // _COLUMNS)].astype(np.int16)


def _comb_share(luma: np.ndarray) -> float:
    rows = luma.astype(np.uint8)  # differences of bytes end at 0: three times as fast
    up = cv2.subtract(rows[1:], rows[:-1]) > _ALTERNATES
    down = cv2.subtract(rows[:-1], rows[1:]) > _ALTERNATES
    alternates = up[:-2] & down[1:-1] & up[2:]
    alternates |= down[:-2] & up[1:-1] & down[2:]
    return float(np.count_nonzero(alternates) / alternates.size)


def _order(before: np.ndarray, luma: np.ndarray, after: np.ndarray) -> str:
    """Which field of a frame is the earlier moment; "" where that can not be told.

    The rows of a field lie smoothly between those of the field next in time: of the frame before,
    the later field does with the earlier rows of this one.
    """
    if not before.shape == luma.shape == after.shape:
        return ""  # the picture changes its size
    around = luma[1:-3] + luma[3:-1]  # rows 1, 3 about row 2 and so on
    past = np.abs(around - 2 * before[2:-2]).sum(axis=1)
    coming = np.abs(around - 2 * after[2:-2]).sum(axis=1)
    # by the parity of the row in the middle, row 2 being even
    top_first = int(past[::2].sum() + coming[1::2].sum())
    bottom_first = int(past[1::2].sum() + coming[::2].sum())
    inside = int(np.abs(around - 2 * luma[2:-2]).sum())
    if min(top_first, bottom_first) > _ONE_FIELD * inside:
        return ""  # it fits itself better than any neighbour: rows of one moment
    if top_first > _CLEAR_ORDER * bottom_first:
        return "tff"
    return "bff" if bottom_first > _CLEAR_ORDER * top_first else ""


def _has_cycle(combed: np.ndarray) -> bool:
    """Whether two neighbours of every five frames have combs, for two cycles at least."""
    if len(combed) < 2 * _CYCLE:
        return False
    for phase in range(_CYCLE):
        place = (np.arange(len(combed)) - phase) % _CYCLE
        if (combed == (place < _CYCLE_COMBED)).all():
            return True
    return False
