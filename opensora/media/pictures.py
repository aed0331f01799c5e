"""Pictures that decoders give in parts: fields of HEVC, transparency of WebM.

H.264 and MPEG-2 keep both fields of a frame together and decoders give frames. HEVC has no such
frames: a film in fields is a row of pictures of half the height, and decoders give each by itself,
with a note which field it is.

VP8 and VP9 keep transparency beside the picture. FFmpeg's own decoders leave it out, and show
whatever colour the transparent parts were given; those of libvpx read both.
"""

from collections.abc import Iterator
from typing import Any

import av
import av.filter
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from opensora.media.container import codec_of

_CODEC = "hevc"
_READ_BOTH = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # decoders that read transparency


def frames_of(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decode from where the container stands: whole frames, with their transparency.

    A frame woven of two fields has the time of the first. A field whose other one is lost fills
    both.
    """
    codec = codec_of(stream)
    if codec == _CODEC:
        return _woven(_decoded(container, stream))
    if codec in _READ_BOTH and stream.metadata.get("alpha_mode") == "1":
        return _with_alpha(container, stream, _READ_BOTH[codec])
    return _decoded(container, stream)


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """All frames. An empty packet repeats a picture (Theora), and only the last one is the end."""
    end = None
    for packet in container.demux(stream):
        if packet.size:
            yield from packet.decode()
        else:
            end = packet
    if end is not None:
        yield from end.decode()


def _with_alpha(
    container: InputContainer, stream: VideoStream, decoder: str
) -> Iterator[VideoFrame]:
    context: Any = av.CodecContext.create(decoder, "r")
    context.thread_count = 1
    for packet in container.demux(stream):
        for frame in context.decode(packet if packet.size else None):
            frame.time_base = stream.time_base
            yield frame


def is_of_fields(codec: str, frame: VideoFrame) -> bool:
    """Whether a decoded or woven frame comes from pictures of one field."""
    return codec == _CODEC and bool(frame.interlaced_frame)


def _woven(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    weaver = _Weaver()
    first: VideoFrame | None = None
    for frame in frames:
        if first is not None and weaver.is_other_field(first, frame):
            yield weaver.join(first, frame)
            first = None
            continue
        if first is not None:
            yield weaver.join(first, first)
        first = frame if is_of_fields(_CODEC, frame) else None
        if first is None:
            yield frame
    if first is not None:
        yield weaver.join(first, first)


class _Weaver:
    """FFmpeg's filters, which see what PyAV does not tell: the parity of a field."""

    def __init__(self) -> None:
        self._graphs: dict[tuple[str, int, int, str], av.filter.Graph] = {}

    def is_other_field(self, first: VideoFrame, second: VideoFrame) -> bool:
        """Whether two pictures are the two fields of one frame."""
        return (
            is_of_fields(_CODEC, second)
            and (first.width, first.height) == (second.width, second.height)
            and first.format.name == second.format.name
            and self._is_top(first) != self._is_top(second)
        )

    def join(self, first: VideoFrame, second: VideoFrame) -> VideoFrame:
        """Weave two fields; the first is the earlier moment."""
        order = "top" if self._is_top(first) else "bottom"
        graph = self._graph(first, "weave", f"first_field={order}")
        graph.vpush(first)
        graph.vpush(second)
        made = graph.vpull()
        made.pts, made.time_base = first.pts, first.time_base  # the filter halves the ticks
        return made

    def _is_top(self, frame: VideoFrame) -> bool:
        graph = self._graph(frame, "select", r"eq(interlace_type\,TOPFIRST)")
        graph.vpush(frame)
        try:
            graph.vpull()
        except BlockingIOError:
            return False
        return True

    def _graph(self, frame: VideoFrame, name: str, options: str) -> av.filter.Graph:
        key = (frame.format.name, frame.width, frame.height, options)
        if key not in self._graphs:
            graph = av.filter.Graph()
            source = graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=frame.time_base,
            )
            graph.link_nodes(source, graph.add(name, options), graph.add("buffersink"))
            graph.configure()
            self._graphs[key] = graph
        return self._graphs[key]
