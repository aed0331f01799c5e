"""Bytes of an address: over http(s), from S3 or from the hub."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from opensora.core.errors import OpenSoraError
from opensora.curation.fetch.address import WEB, Address

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOST_REDIRECTS = 5
_PACKAGES = {"s3": "s3fs", "hf": "huggingface_hub"}


class Refused(Exception):
    """Another try would end the same."""


class Passing(Exception):
    """Another try may do better.

    Attributes:
        wait_s: seconds that the server asks to wait; 0 where it says nothing.
    """

    def __init__(self, sentence: str, wait_s: float = 0.0) -> None:
        super().__init__(sentence)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        body: to read from.
        start: which byte of the file the body begins with.
        size: bytes of the whole file; None where nobody says.
        etag: what the server calls this version; "" where it does not.
        host: that answered in the end, after redirects; "" of a store.
    """

    body: IO[bytes]
    start: int
    size: int | None
    etag: str
    host: str


@contextmanager
def opened(address: Address, *, start: int, etag: str, timeout_s: float) -> Iterator[Answer]:
    """Ask for a file from a byte on.

    Args:
        address: of the file.
        start: bytes that are there from a try before.
        etag: version that they are of.
        timeout_s: seconds without a byte after which a try ends.

    Raises:
        Refused, Passing: it is not given.
        OpenSoraError: a package is missing.
    """
    if address.scheme in WEB:
        with _web(address, start, etag, timeout_s) as answer:
            yield answer
    else:
        with _stored(address, start) as answer:
            yield answer


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, to http(s) alone and never from https to http."""

    max_redirections = _MOST_REDIRECTS

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The request that follows, without what was meant for another host."""
        target = urljoin(req.full_url, newurl)
        scheme, before = urlsplit(target).scheme.lower(), urlsplit(req.full_url).scheme.lower()
        if scheme not in WEB or (before == "https" and scheme == "http"):
            raise Refused(f"it redirects from {before} to {scheme or 'nothing'}")
        return super().redirect_request(req, fp, code, msg, headers, target)


def _opener() -> urllib.request.OpenerDirector:
    """Knows http and https, and no file, ftp or data."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    return opener


@contextmanager
def _web(address: Address, start: int, etag: str, timeout_s: float) -> Iterator[Answer]:
    request = urllib.request.Request(address.whole, headers={"User-Agent": "opensora"})
    if start and etag:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", etag)
    try:
        response = _opener().open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        with closing(error):
            sentence = f"the server answers {error.code}"
            if error.code in range(300, 400):
                sentence = "it redirects too often, or to what is no address of http or https"
            if error.code in _PASSING:
                raise Passing(sentence, _seconds(error.headers.get("Retry-After"))) from error
            raise Refused(sentence) from error
    except (OSError, http.client.HTTPException) as error:  # no host, no answer, no certificate
        raise Passing(f"no answer ({getattr(error, 'reason', error)})") from error
    except ValueError as error:
        raise Refused(f"no address ({error})") from error
    with closing(response):
        length = response.headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() and len(length) < 20 else None
        begins = start if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        yield Answer(
            body=response,
            start=begins,
            size=None if size is None else size + begins,
            etag=response.headers.get("ETag", ""),
            host=urlsplit(response.url).hostname or "",
        )


def _seconds(text: str | None) -> float:
    return float(text) if text and text.isdecimal() and len(text) < 6 else 0.0


@contextmanager
def _stored(address: Address, start: int) -> Iterator[Answer]:
    """From a store that fsspec knows; its keys are where its own package looks for them."""
    import fsspec

    try:
        store = fsspec.filesystem(address.scheme)
    except (ImportError, ValueError) as error:
        raise OpenSoraError(
            f"{address.scheme}:// needs a package: pip install {_PACKAGES[address.scheme]}"
        ) from error
    try:
        facts = store.info(address.whole)
        body = store.open(address.whole, "rb")
        if start:
            body.seek(start)
    except Exception as error:
        raise _reason(error) from error
    etag = str(facts.get("ETag") or facts.get("blob_id") or "").strip('"')
    with body:
        yield Answer(body, start, facts.get("size"), etag, "")


def _reason(error: Exception) -> Refused | Passing:
    """Why a store gives no file. Each package has errors of its own, some of which are OSErrors."""
    if isinstance(error, FileNotFoundError):
        return Refused("there is no such file")
    if isinstance(error, PermissionError):
        return Refused("it may not be read with the keys of this machine")
    code = getattr(getattr(error, "response", None), "status_code", 0)  # of a hub
    if code in (401, 403, 404):  # to whom it does not know a hub says no more
        return Refused(
            "there is no such file, or it may not be read with the token of this machine"
        )
    return Passing(f"no answer ({type(error).__name__})")
