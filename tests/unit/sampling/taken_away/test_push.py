"""The way to a hub, against one that stands on this machine and notes what it is sent."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from opensora.core.errors import ConfigError, PassingError
from opensora.sampling.taken_away.push import check_push, push_folder

NAME = "me/balls"


class Hub(ThreadingHTTPServer):
    """What a hub answers to an upload; `seen` has each request, `files` what arrived."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.seen: list[tuple[str, str, str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.refuses = False

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
            return self._answer({"error": "no rights to write"}, 403)
        if path == "/api/repos/create":
            return self._answer({"url": f"{hub.address}/{NAME}"})
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
                {"commitUrl": f"{hub.address}/{NAME}/commit/1", "commitOid": "1", "success": True}
            )
        return self._answer({}, 404)

    def do_PUT(self) -> None:
        self.server.files[self.path.rpartition("/")[2]] = self._body()
        self._answer({})

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("authorization", ""), "GET", []))
        self._answer({"sha": "0", "id": NAME, "siblings": []})

    def _way(self, file: dict[str, Any]) -> dict[str, Any]:
        is_large = file["path"].endswith(".safetensors")
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


@pytest.fixture(name="hub")
def _hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.address)
    # large files as they went before there was Xet, whose store is no protocol to rebuild here
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield hub
    hub.shutdown()
    hub.server_close()


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    (tmp_path / "samples").mkdir()
    (tmp_path / "README.md").write_text("---\nlicense: other\n---\n")
    (tmp_path / "samples/a.json").write_text("{}")
    (tmp_path / "ema.safetensors").write_bytes(b"weights")
    return tmp_path


def test_all_of_a_folder_goes_to_a_private_repository(hub: Hub, folder: Path) -> None:
    check_push(NAME)
    assert push_folder(folder, NAME) == f"{hub.address}/{NAME}/commit/1"
    assert {token for _, token, way, _ in hub.seen if way == "POST"} == {"Bearer hf_secret"}
    created = next(body[0] for path, _, _, body in hub.seen if path == "/api/repos/create")
    assert created["visibility"] == "private"
    assert (created["organization"], created["name"]) == ("me", "balls")
    commit = next(body for path, _, _, body in hub.seen if path.endswith("/commit/main"))
    sent = {line["value"]["path"] for line in commit if line["key"] in ("file", "lfsFile")}
    assert sent == {"README.md", "samples/a.json", "ema.safetensors"}
    assert list(hub.files.values()) == [b"weights"]


def test_a_hub_that_refuses_is_one_sentence(hub: Hub, folder: Path) -> None:
    hub.refuses = True
    with pytest.raises(PassingError, match=r"the hub did not take it .*is whole") as error:
        push_folder(folder, NAME)
    assert "\n" not in str(error.value)
    assert "hf_secret" not in str(error.value)


def test_no_way_to_a_hub_is_one_sentence(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PassingError, match="the hub did not take it"):
        push_folder(folder, NAME)


@pytest.mark.parametrize(
    ("name", "token", "sentence"),
    [
        (NAME, "", "HF_TOKEN is not set"),
        ("balls", "x", "expected YOUR_NAME/MODEL"),
        ("me/../balls", "x", "is no name of a repository"),
    ],
)
def test_what_can_not_be_pushed_is_said_first(
    name: str, token: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ConfigError, match=sentence):
        check_push(name)
