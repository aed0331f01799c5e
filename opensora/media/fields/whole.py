"""One whole picture for each frame of a file, those of two fields deinterlaced."""

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import av.filter
from av.video.frame import VideoFrame

from opensora.media.fields.combs import COMBED, comb_share
from opensora.media.fields.judged import Fields, fields_of, is_woven

Numbered = Iterator[tuple[int, VideoFrame]]


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
