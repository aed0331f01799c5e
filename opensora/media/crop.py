"""Margins that the container asks players to cut off; FFmpeg's libraries leave that to players.

Source: the box `clap` of ISO/IEC 14496-12 (12.1.4) and QuickTime; the elements PixelCrop of
Matroska (RFC 9559, 5.1.4.1.28.8 to 11).
"""

import functools
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

_SEGMENT, _TRACKS, _ENTRY, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
_CLUSTER = 0x1F43B675
_SIDES: dict[bytes | int, str] = {0x54BB: "top", 0x54AA: "bottom", 0x54CC: "left", 0x54DD: "right"}
_PATH = (b"mdia", b"minf", b"stbl", b"stsd")
_ENTRY_BYTES = 86  # of a picture's description before its own boxes, with its header
_MOST = 4096  # boxes or elements looked at in one place: a damaged file ends the search


class Margins(NamedTuple):
    """Pixels of the stored picture, before it is turned, that are not shown."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


class _Span(NamedTuple):
    """A box or an element: its name and where its content lies."""

    name: bytes | int
    start: int
    end: int


def margins_of(path: Path, container: str, track: int, size: tuple[int, int]) -> Margins:
    """Margins of a video track.

    Args:
        path: the file.
        container: name of FFmpeg's demuxer.
        track: its id in MOV and MP4, its place among the video tracks in Matroska.
        size: (height, width) of the stored picture.

    Returns:
        No margins where the file tells none, or tells some that leave nothing.
    """
    facts = path.stat()
    found = _all_margins(path, container, facts.st_size, facts.st_mtime_ns).get(track)
    if found is None:
        return Margins()
    margins = found.of(size) if isinstance(found, _Aperture) else found
    height = size[0] - margins.top - margins.bottom
    width = size[1] - margins.left - margins.right
    return margins if min(*margins, height - 1, width - 1) >= 0 else Margins()


class _Aperture(NamedTuple):
    """Size of what is shown, and how far its middle lies from that of the picture."""

    width: Fraction
    height: Fraction
    right: Fraction
    down: Fraction

    def of(self, size: tuple[int, int]) -> Margins:
        left = round((size[1] - self.width) / 2 + self.right)
        top = round((size[0] - self.height) / 2 + self.down)
        right = size[1] - left - round(self.width)
        return Margins(top, size[0] - top - round(self.height), left, right)


@functools.lru_cache(maxsize=256)
def _all_margins(
    path: Path, container: str, size: int, mtime_ns: int
) -> dict[int, Margins | _Aperture]:
    """Margins by track, see `margins_of`."""
    with open(path, "rb") as file:
        try:
            if container == "mov":
                return dict(_apertures(file, size))
            if container == "matroska":
                return dict(_pixel_crops(file, size))
        except (struct.error, IndexError, ValueError, ZeroDivisionError):
            pass  # damaged: the reader of the frames tells of it
    return {}


def _apertures(file: BinaryIO, size: int) -> Iterator[tuple[int, _Aperture]]:
    movie = next((box for box in _boxes(file, 0, size) if box.name == b"moov"), None)
    for track in _boxes(file, movie.start, movie.end) if movie else ():
        if track.name != b"trak":
            continue
        number, inner = 0, track
        for box in _boxes(file, track.start, track.end):
            if box.name == b"tkhd":
                head = _read(file, box.start, 32)
                number = struct.unpack_from(">I", head, 20 if head[0] == 1 else 12)[0]
        for name in _PATH:
            inside = (box for box in _boxes(file, inner.start, inner.end) if box.name == name)
            inner = next(inside, _Span(name, 0, 0))
        for entry in _boxes(file, inner.start + 8, inner.end):
            for box in _boxes(file, entry.start - 8 + _ENTRY_BYTES, entry.end):
                if box.name == b"clap":
                    parts = struct.unpack(">IIIIiIiI", _read(file, box.start, 32))
                    sizes = (Fraction(*parts[at : at + 2]) for at in range(0, 8, 2))
                    yield number, _Aperture(*sizes)
            break  # further descriptions are of other stretches of the track


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Span]:
    for _ in range(_MOST):
        if start + 8 > end:
            return
        size, name = struct.unpack(">I4s", _read(file, start, 8))
        header = 8
        if size == 1:
            size, header = struct.unpack(">Q", _read(file, start + 8, 8))[0], 16
        stop = end if size == 0 else start + size
        if size and size < header:
            return
        yield _Span(name, start + header, min(stop, end))
        start = stop


def _pixel_crops(file: BinaryIO, size: int) -> Iterator[tuple[int, Margins]]:
    segment = next((each for each in _elements(file, 0, size) if each.name == _SEGMENT), None)
    for tracks in _elements(file, segment.start, segment.end) if segment else ():
        if tracks.name == _CLUSTER:
            return  # the film begins; what describes it stands before
        if tracks.name != _TRACKS:
            continue
        entries = _elements(file, tracks.start, tracks.end)
        insides = (_elements(file, e.start, e.end) for e in entries if e.name == _ENTRY)
        films = (each for inside in insides for each in inside if each.name == _VIDEO)
        for place, film in enumerate(films):
            sides = _elements(file, film.start, film.end)
            crops = {_SIDES[e.name]: _number(file, e) for e in sides if e.name in _SIDES}
            yield place, Margins(**crops)
        return


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[_Span]:
    for _ in range(_MOST):
        if start >= end:
            return
        head = _read(file, start, 12)
        long = 9 - head[0].bit_length()  # a name keeps its mark of length, a size does not
        name = int.from_bytes(head[:long], "big")
        more = 9 - head[long].bit_length()
        size = int.from_bytes(head[long : long + more], "big") & ((1 << 7 * more) - 1)
        content = start + long + more
        # all ones: as long as what holds it
        stop = end if size == (1 << 7 * more) - 1 else content + size
        yield _Span(name, content, min(stop, end))
        start = stop


def _number(file: BinaryIO, element: _Span) -> int:
    return int.from_bytes(_read(file, element.start, min(element.end - element.start, 8)), "big")


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)
