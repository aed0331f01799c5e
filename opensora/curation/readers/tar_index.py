"""Members of a tar file by offset, read by hand: names are labels, nothing is unpacked by them.

A header is 512 bytes (POSIX ustar, with GNU's and pax's long names); its numbers are claims, which
are held against the size of the file before a byte is read for them. Links, devices and folders are
told apart and never followed or made. Archives that are compressed as a whole are not read.

Source: POSIX.1-2001 pax, "ustar interchange format".
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_BLOCK = 512
_LONGEST_NAME = 1 << 16  # bytes of an extended header; names have some hundred
_REGULAR = (b"0", b"\0", b"7")
_GNU_NAME, _PAX, _PAX_GLOBAL = b"L", b"x", b"g"


@dataclass(frozen=True)
class Member:
    """One entry of an archive.

    Attributes:
        name: as it stands there, for people and to tell samples apart.
        offset: of its first byte.
        size: in bytes; 0 of what is no file.
        is_file: whether it is a plain file.
    """

    name: str
    offset: int
    size: int
    is_file: bool


class BrokenArchive(Exception):
    """What is wrong with an archive, from a member on; those before are good."""


def members(file: BinaryIO) -> Iterator[Member]:
    """Yield the members of an archive in their order.

    Args:
        file: the archive, open for reading; it may be read elsewhere between two members.

    Raises:
        BrokenArchive: it is none, is cut off, or a header claims what can not be.
    """
    end = file.seek(0, os.SEEK_END)
    place, name, size = 0, "", None
    while place + _BLOCK <= end:
        file.seek(place)
        header = file.read(_BLOCK)
        if not header.strip(b"\0"):
            return
        _check(header, place)
        claimed = _number(header[124:136], place)
        kind, place = header[156:157], place + _BLOCK
        if kind in (_GNU_NAME, _PAX, _PAX_GLOBAL):
            if claimed > _LONGEST_NAME:
                raise BrokenArchive(f"byte {place}: a name of {claimed} bytes")
            extended = file.read(claimed)
            if kind == _GNU_NAME:
                name = _text(extended)
            elif kind == _PAX:
                fields = _pax(extended, place)
                name = fields.get("path", name)
                size = _whole(fields["size"], place) if "size" in fields else size
        else:
            claimed = claimed if size is None else size
            is_file = kind in _REGULAR
            if is_file and place + claimed > end:
                raise BrokenArchive(
                    f"byte {place}: a file of {claimed} bytes, of which {end - place} are there"
                )
            yield Member(name or _name(header), place, claimed if is_file else 0, is_file)
            claimed = claimed if is_file else 0
            name, size = "", None
        place += -(-claimed // _BLOCK) * _BLOCK
    if place < end or end == 0:
        raise BrokenArchive(f"byte {place}: the archive ends within a header")


def _check(header: bytes, place: int) -> None:
    """Compare a header with its checksum, that of unsigned bytes with blanks in its own place."""
    told = _number(header[148:156], place)
    if told != sum(header[:148]) + sum(header[156:]) + 8 * ord(" "):
        raise BrokenArchive(f"byte {place}: no header of a tar file, or a damaged one")


def _number(field: bytes, place: int) -> int:
    """Octal digits, or 255 bits behind a set first one."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.split(b"\0")[0].strip()
    try:
        return int(digits or b"0", 8)
    except ValueError as error:
        raise BrokenArchive(f"byte {place}: {digits!r} is no number of a tar header") from error


def _name(header: bytes) -> str:
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    name = _text(header[:100])
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("utf-8", errors="replace")


def _pax(extended: bytes, place: int) -> dict[str, str]:
    """Fields of an extended header, each `LENGTH NAME=VALUE` and a line break."""
    fields = {}
    while extended:
        length, _, _ = extended.partition(b" ")
        count = _whole(_text(length), place)
        field = extended[len(length) + 1 : count]
        if count <= len(length) + 1 or count > len(extended) or b"=" not in field:
            raise BrokenArchive(f"byte {place}: a damaged extended header")
        key, _, value = field.partition(b"=")
        fields[_text(key)] = _text(value.removesuffix(b"\n"))
        extended = extended[count:]
    return fields


def _whole(digits: str, place: int) -> int:
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
        raise BrokenArchive(f"byte {place}: {digits[:20]!r} is no number")
    return int(digits)
