"""Where a video lies: a scheme of a closed list, and what may be said of it in tables and logs."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from opensora.core.text import visible
from opensora.media.formats import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from opensora.tables.manifest import make_id

WEB, STORES = ("http", "https"), ("s3", "hf")
SCHEMES = (*WEB, *STORES)
# a scheme, a host or bucket, and no blank or control character: what would break a request's lines;
# keys of a store may have blanks, which its package writes otherwise
_ADDRESS = re.compile(r"(\w+)://[^\s/?#\x00-\x20\x7f][^\s\x00-\x20\x7f]*")
_KEY = re.compile(r"(s3|hf)://[^\s/?#\x00-\x20\x7f]+/[^\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True)
class Address:
    """Address of one file.

    Attributes:
        whole: as it is asked for; may hold a key.
        scheme: of `SCHEMES`.
        shown: without user, password and query, which may hold keys.
        name: of the file that it becomes here: readable, and no path.
    """

    whole: str
    scheme: str
    shown: str
    name: str


def address_of(text: str) -> Address:
    """Read an address.

    Raises:
        ValueError: it is none, or of a scheme that is not fetched.
    """
    text = text.strip()
    found = _ADDRESS.fullmatch(text) or _KEY.fullmatch(text)
    scheme = found[1].lower() if found else ""
    if scheme not in SCHEMES or "::" in text:
        raise ValueError(f"{shown(text)!r} is no address of {', '.join(SCHEMES)}")
    path = urlsplit(text).path
    suffix = PurePosixPath(path).suffix.lower()
    suffix = suffix if suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES else ""
    return Address(text, scheme, shown(text), make_id(path, text) + suffix)


def shown(text: str) -> str:
    """An address for people: what may be a key is left out."""
    plain = visible(text)[:2000].partition("?")[0].partition("#")[0]
    return re.sub(r"^(\w+://)[^/]*@", r"\1", plain)
