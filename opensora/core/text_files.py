"""Text files of others: their encoding is told by their bytes, and never guessed."""

import codecs
from pathlib import Path

from opensora.core import limits

# the longer marks first: the mark of UTF-32 begins with that of UTF-16
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
_MOSTLY = 0.25  # share of zero bytes from which text is UTF-16 or UTF-32 without its mark


class TextEncodingError(ValueError):
    """A text file is in none of the encodings that can be told; names file, byte and encoding."""


def read_text(path: Path) -> str:
    """Read text in UTF-8, or as its byte order mark says (UTF-8, UTF-16, UTF-32).

    Raises:
        TextEncodingError: it is in another encoding, or holds bytes that are none.
        ValueError: it is too large to be a text about a video.
        OSError: the file can not be read.
    """
    if (size := path.stat().st_size) > limits.CAPTION_FILE_BYTES:
        raise ValueError(f"{size:,} bytes; at most {limits.CAPTION_FILE_BYTES:,} are read")
    data = path.read_bytes()
    codec, name = next(
        ((codec, name) for mark, codec, name in _MARKS if data.startswith(mark)), ("utf-8", "")
    )
    if not name and b"\0" in data:
        wide = data.count(0) >= _MOSTLY * len(data)
        likely = "; it looks like UTF-16 without a mark" if wide else ""
        raise TextEncodingError(f"{path}: byte {data.index(0)} is 0{likely}; save it in UTF-8")
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        place = error.start + (len(codecs.BOM_UTF8) if codec == "utf-8-sig" else 0)
        said = f"{name}, as its mark says" if name else f"UTF-8{_likely(data)}"
        raise TextEncodingError(f"{path}: byte {place} is not {said}; save it in UTF-8") from error


def is_utf8_so_far(head: bytes) -> bool:
    """Whether the first bytes of a file have neither the mark of UTF-16 or UTF-32 nor zeros."""
    wide = (mark for mark, _, name in _MARKS if name != "UTF-8")
    return b"\0" not in head and not head.startswith(tuple(wide))


def _likely(data: bytes) -> str:
    """What the bytes look like, in words: a hint for whoever saves the file again."""
    if sum(byte >= 0x80 for byte in data) >= len(data) / 2:
        return "; it looks like an encoding of two bytes a sign, as GB18030 or Shift JIS"
    return "; it looks like CP1252 or another encoding of one byte a sign"
