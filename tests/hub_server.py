"""A hub on this machine that notes what it is sent, for tests."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import huggingface_hub.constants
import pytest


class Hub(ThreadingHTTPServer):
    """What a hub answers to an upload; `seen` has each request, `files` what arrived."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.seen: list[tuple[str, str, str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.refuses = False
        self.name = "me/clips"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self._body()
        path, hub = self.path.partition("?")[0], self.server
        lines = [json.loads(line) for line in body.splitlines()]
        hub.seen.append((path, self.headers.get("authorization", ""), "POST", lines))
        if hub.refuses:
            said = f"no rights to write with {self.headers.get('authorization')}"
            return self._answer({"error": said}, 403)
        if path == "/api/repos/create":
            return self._answer({"url": f"{hub.address}/{hub.name}"})
        if path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        if path.endswith("/preupload/main"):
            return self._answer({"files": [self._way(file) for file in lines[0]["files"]]})
        if path.endswith("/info/lfs/objects/batch"):
            found = lines[0]["objects"]
            for file in found:
                file["actions"] = {"upload": {"href": f"{hub.address}/put/{file['oid']}"}}
            return self._answer({"objects": found, "transfer": "basic"})
        if path.endswith("/commit/main"):
            return self._answer(
                {
                    "commitUrl": f"{hub.address}/{hub.name}/commit/1",
                    "commitOid": "1",
                    "success": True,
                }
            )
        return self._answer({}, 404)

    def do_PUT(self) -> None:
        self.server.files[self.path.rpartition("/")[2]] = self._body()
        self._answer({})

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("authorization", ""), "GET", []))
        self._answer({"sha": "0", "id": self.server.name, "siblings": []})

    def _way(self, file: dict[str, Any]) -> dict[str, Any]:
        is_large = not file["path"].endswith((".md", ".json"))
        mode = "lfs" if is_large else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _answer(self, fields: dict[str, Any], code: int = 200) -> None:
        text = json.dumps(fields).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@contextmanager
def hub_here(monkeypatch: pytest.MonkeyPatch, token: str) -> Iterator[Hub]:
    """A hub that runs meanwhile and that the library of hubs takes for the one."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.address)
    # large files as they went before there was Xet, whose store is no protocol to rebuild here
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", token)
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
