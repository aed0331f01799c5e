"""What is opened: containers and pictures by their real format, told by content and not by name.

Everything else is refused before a reader sees it: playlists, lists of files to join, session
descriptions and indexes of subtitles name other files, patterns stand for many files, and some
kinds of pictures make a reader start another program.
"""

import errno
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from opensora.core.errors import VideoError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp"})
# names that promise a video; others are asked for their content. A GIF is a video here
VIDEO_SUFFIXES = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".gif", ".mxf"),
        *(".mpg", ".mpeg", ".vob", ".ts", ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".f4v", ".ogv"),
    }
)
# names of FFmpeg's demuxers
CONTAINERS = ("mov", "matroska", "avi", "mpeg", "mpegts", "asf", "flv", "mxf", "ogg", "gif")
# names of Pillow's readers
PICTURES = ("PNG", "JPEG", "WEBP", "AVIF", "BMP")
OPENED = f"{', '.join(CONTAINERS)}; png, jpeg, webp, avif, bmp"

_HEAD = 4096  # bytes looked at
_ISO_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"moof", b"styp")
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_MXF = bytes.fromhex("060e2b34020501010d010201")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes of the second header, by its version
_TS_SYNC, _TS_PACKETS = 0x47, ((188, 0), (192, 4), (204, 0))  # (bytes of a packet, bytes before)
_MXF_RUN_IN = 256  # bytes that may stand before; the standard allows 65,536, cameras write none
_MOVING_WEBP = 0x02  # bit of the extended header
# first bytes of what is refused by name; the text files may begin with blanks
_REFUSED = (
    (b"#EXTM3U", "a playlist"),
    (b"ffconcat", "a script that joins files"),
    (b"v=0", "a session description"),
    (b"# VobSub", "an index of subtitles"),
    (b"<?xml", "an XML file"),
    (b"<MPD", "a playlist"),
    (b"<svg", "a drawing"),
    (b"%!PS", "a PostScript program"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript program"),
    (b"%PDF", "a PDF file"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"8BPS", "a Photoshop picture"),
)
_SPECIAL = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


@dataclass(frozen=True)
class Content:
    """What the first bytes of a file say.

    Attributes:
        container: one of `CONTAINERS`, or "".
        picture: one of `PICTURES`, or "".
        is_moving: whether a picture has several frames.
        refused: what else the file is, as "a playlist"; "" where nothing is known.
    """

    container: str = ""
    picture: str = ""
    is_moving: bool = False
    refused: str = ""


def check_file(path: Path) -> None:
    """Refuse what is missing, not a file, or empty.

    Raises:
        VideoError: with the reason missing, unreadable or empty_file.
    """
    if not path.exists():
        raise VideoError("missing", _absent(path))
    if not path.is_file():
        raise VideoError("unreadable", f"{path.name} is {_special(path)} and not a file")
    if path.stat().st_size == 0:
        raise VideoError("empty_file", f"{path.name} has zero bytes")


def _absent(path: Path) -> str:
    """Why there is no file of this name; what a folder lists may be a link that leads nowhere."""
    if not path.is_symlink():
        return f"{path.name} does not exist"
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return f"{path.name} is a link in a circle"
    return f"{path.name} is a link to {os.readlink(path)}, which does not exist"


def content_of(path: str | Path) -> Content:
    """Look at the first bytes of a file.

    Raises:
        OSError: it can not be read, or is no file: to open a pipe may wait for ever.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(errno.EINVAL, f"{_special(Path(path))} and not a file", os.fspath(path))
    with open(path, "rb") as file:
        head = file.read(_HEAD)
        if picture := _picture(head):
            return Content(picture=picture, is_moving=_MOVES[picture](file))
    if container := _container(head):
        return Content(container=container)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for mark, name in _REFUSED:
        if head.startswith(mark) or text.startswith(mark):
            return Content(refused=name)
    if _is_heif(head):
        return Content(refused="a HEIF picture")
    return Content()


def is_media(path: str | Path) -> bool:
    """Whether a file begins as something that is opened; False where it can not be read."""
    try:
        content = content_of(path) if os.path.isfile(path) else Content()
    except Exception:  # of no access, or of what a damaged head makes of its reader
        return False
    return bool(content.container or content.picture)


def _special(path: Path) -> str:
    """What is there in place of a file, as "a named pipe"."""
    mode = path.stat().st_mode
    return next((name for holds, name in _SPECIAL if holds(mode)), "something else")


def _picture(head: bytes) -> str:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp" and _brands(head) & {b"avif", b"avis"}:
        return "AVIF"
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        size = int.from_bytes(head[14:18], "little")
        return "BMP" if size in _BMP_HEADERS else ""
    return ""


def _container(head: bytes) -> str:
    if head[4:8] in _ISO_BOXES and not _is_heif(head):
        return "mov"
    starts = {
        b"\x1aE\xdf\xa3": "matroska",
        b"FLV\x01": "flv",
        b"OggS": "ogg",
        b"GIF87a": "gif",
        b"GIF89a": "gif",
        b"\0\0\x01\xba": "mpeg",
        _ASF: "asf",
    }
    for mark, name in starts.items():
        if head.startswith(mark):
            return name
    if head.startswith(b"RIFF") and head[8:12] in (b"AVI ", b"AVIX", b"ON2 "):
        return "avi"
    if _MXF in head[: _MXF_RUN_IN + len(_MXF)]:
        return "mxf"
    return "mpegts" if _is_mpegts(head) else ""


def _is_mpegts(head: bytes) -> bool:
    """Whether packets follow each other; a recording may begin in the middle of one."""
    for length, skip in _TS_PACKETS:
        for start in range(skip, skip + length):
            places = head[start::length]
            if len(places) >= 3 and set(places) == {_TS_SYNC}:
                return True
    return False


def _is_heif(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def _brands(head: bytes) -> set[bytes]:
    """Major and compatible brands of an ISO file."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4))}


def _png_moves(file: BinaryIO) -> bool:
    file.seek(8)
    while len(header := file.read(8)) == 8:
        size, name = struct.unpack(">I4s", header)
        if name == b"acTL":
            return int.from_bytes(file.read(4), "big") > 1
        if name == b"IDAT":
            return False
        file.seek(size + 4, os.SEEK_CUR)
    return False


def _webp_moves(file: BinaryIO) -> bool:
    file.seek(12)
    head = file.read(18)
    if head[:4] != b"VP8X" or len(head) < 9 or not head[8] & _MOVING_WEBP:
        return False
    frames = (name for name in _riff_chunks(file) if name == b"ANMF")
    return next(frames, None) is not None and next(frames, None) is not None


def _riff_chunks(file: BinaryIO) -> Iterator[bytes]:
    while len(header := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", header)
        yield name
        file.seek(size + size % 2, os.SEEK_CUR)


def _avif_moves(file: BinaryIO) -> bool:
    file.seek(0)
    return b"avis" in _brands(file.read(_HEAD))


def _stands(file: BinaryIO) -> bool:
    return False


_MOVES = {
    "PNG": _png_moves,
    "WEBP": _webp_moves,
    "AVIF": _avif_moves,
    "JPEG": _stands,
    "BMP": _stands,
}
