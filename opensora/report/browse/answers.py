"""Answer the browser of this machine: the page, its data, parts of clips, corrections.

Any program and any page of the browser can reach an address of this machine. So each answer needs a
secret that only the printed address holds, which the browser keeps as a cookie; a name that leads
here from elsewhere is refused (DNS rebinding); and a correction must come from the page itself.
"""

from __future__ import annotations

import hmac
import json
import logging
import mimetypes
import re
from dataclasses import asdict
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from opensora.core.errors import OpenSoraError
from opensora.media.formats import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from opensora.report.browse.page import POLICY
from opensora.report.browse.ranges import Unsatisfiable, part_of
from opensora.tables.corrections import Outdated

if TYPE_CHECKING:
    from opensora.report.browse.server import Browser

log = logging.getLogger(__name__)

_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?")
_SECONDS = 30  # that a connection may be silent
_LARGEST_CORRECTION = 1 << 17  # bytes
_CHUNK = 1 << 18
_HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Answer(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: Browser
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "opensora", ""
    timeout = _SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """To the log, without the secret of an address."""
        log.debug("browse %s", (format % args).replace(self.server.token, "..."))

    def do_GET(self) -> None:
        """A file of the page, the data, or a part of a clip."""
        path, _, query = self.path.partition("?")
        if not self._is_allowed(query):
            return
        name = path.removeprefix("/")
        if name == "data/browse.js":
            try:
                self._send(200, "text/javascript; charset=utf-8", self.server.data())
            except OpenSoraError as error:
                self._say(500, str(error))
        elif name in self.server.files:
            self._send(200, *self.server.files[name])
        elif name.startswith("media/"):
            self._send_media(name.removeprefix("media/"))
        else:
            self._say(404, "there is no such page")

    def do_POST(self) -> None:
        """A correction."""
        size = self.headers.get("Content-Length", "")
        if not size.isascii() or not size.isdigit() or int(size) > _LARGEST_CORRECTION:
            self.close_connection = True
            return self._say(413, "a correction is shorter")
        body = self.rfile.read(int(size))
        if not self._is_allowed(""):
            return None
        if self.headers.get("Origin") != f"http://{self.headers.get('Host')}":
            return self._say(403, "corrections come from the page alone")
        if self.path != "/correct" or self.headers.get_content_type() != "application/json":
            return self._say(404, "there is no such page")
        try:
            new = self.server.correct(json.loads(body))
        except Outdated as error:
            return self._say(409, str(error))
        except (OpenSoraError, ValueError, RecursionError) as error:
            return self._say(400, str(error))
        return self._send_json(200, asdict(new))

    def _is_allowed(self, query: str) -> bool:
        """Whether the request is of who opened the printed address; else it is answered here."""
        if not _HOST.fullmatch(self.headers.get("Host", "")):
            self._say(403, "this page is served under 127.0.0.1 and localhost alone")
            return False
        given = [*parse_qs(query).get("token", []), self._cookie()]
        if not any(
            hmac.compare_digest(word.encode(), self.server.token.encode()) for word in given
        ):
            self._say(403, "open the whole address that `opensora browse` printed")
            return False
        return True

    def _cookie(self) -> str:
        try:
            found = SimpleCookie(self.headers.get("Cookie", "")).get(self._cookie_name())
        except CookieError:
            return ""
        return found.value if found else ""

    def _cookie_name(self) -> str:
        return f"opensora-{self.server.port}"  # cookies do not know ports

    def _send_media(self, name: str) -> None:
        table = self.server.rows.table
        is_row = name.isascii() and name.isdigit() and len(name) < 10 and int(name) < len(table)
        file = self.server.rows.file(int(name)) if is_row else None
        suffixes = VIDEO_SUFFIXES | IMAGE_SUFFIXES
        if file is None or file.suffix.lower() not in suffixes or not file.is_file():
            return self._say(404, "the file of this row is not there")
        size = file.stat().st_size
        try:
            part = part_of(self.headers.get("Range"), size)
        except Unsatisfiable:
            self.send_response(416)
            self._end_headers({"Content-Range": f"bytes */{size}", "Content-Length": "0"})
            return None
        start, stop = part or (0, size)
        self.send_response(206 if part else 200)
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        headers = {"Content-Type": kind, "Content-Length": str(stop - start)}
        if part:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self._end_headers({**headers, "Accept-Ranges": "bytes"})
        self._copy(file, start, stop)
        return None

    def _copy(self, file: Path, start: int, stop: int) -> None:
        """Send bytes of a file; a player that seeks hangs up in the middle."""
        try:
            with file.open("rb") as content:
                content.seek(start)
                while start < stop and (chunk := content.read(min(_CHUNK, stop - start))):
                    self.wfile.write(chunk)
                    start += len(chunk)
        except OSError:
            pass
        if start < stop:
            self.close_connection = True

    def _say(self, status: int, sentence: str) -> None:
        self._send_json(status, {"sentence": sentence})

    def _send_json(self, status: int, value: Any) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        headers = {"Content-Type": kind}
        self.send_response(status)
        if status == 200 and self.path.partition("?")[0] == "/":
            cookie = f"{self._cookie_name()}={self.server.token}; HttpOnly; SameSite=Strict; Path=/"
            headers["Set-Cookie"] = cookie
        self._end_headers({**headers, "Content-Length": str(len(content))})
        self.wfile.write(content)

    def _end_headers(self, headers: dict[str, str]) -> None:
        for name, value in {**_HEADERS, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
