"""Files from an S3 and from a hub that stand on this machine, through their own packages."""

import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import huggingface_hub.constants
import pytest

from opensora.cli.main import main
from opensora.tables.columns import FETCHED
from opensora.tables.io import read_table

FILM = bytes(range(256)) * 40_000  # above the blocks in which stores are read
DIGEST = hashlib.sha256(FILM).hexdigest()


def fetched(folder: Path, *addresses: str) -> Any:
    """The table of `opensora fetch`, by address."""
    lines = [f"{address},{DIGEST}" for address in addresses]
    (folder / "list.csv").write_text("\n".join(["url,sha256", *lines]) + "\n")
    words = ["fetch", str(folder / "list.csv"), "--output", str(folder / "films")]
    assert main([*words, "--table", str(folder / "got.csv"), "--timeout-s", "20"]) == 0
    return read_table(folder / "got.csv", FETCHED).set_index("url")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket `films` of moto's server, with the keys that it takes."""
    pytest.importorskip("s3fs", reason="s3fs, of the extra s3, is not installed")
    pytest.importorskip("moto", reason="moto, which plays S3, is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "who")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "knows")
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        fsspec.filesystem("s3").clear_instance_cache()
        store = fsspec.filesystem("s3")
        store.mkdir("films")
        yield store
    finally:
        server.terminate()
        server.wait(timeout=60)
        fsspec.filesystem("s3").clear_instance_cache()


def test_a_bucket_gives_films_once_and_says_what_it_has_not(s3: Any, tmp_path: Path) -> None:
    for name, content in (("a b/é.mp4", FILM), ("other.mp4", FILM[:-1])):
        with s3.open(f"films/{name}", "wb") as file:
            file.write(content)
    wanted = ("s3://films/a b/é.mp4", "s3://films/other.mp4", "s3://films/gone.mp4")
    found = fetched(tmp_path, *wanted)
    assert found["status"].tolist()[0] == "ok", found["detail"].tolist()
    made = tmp_path / found["path"].iloc[0]
    assert made.read_bytes() == FILM
    assert "sha256" in found["detail"].iloc[1]
    assert found["detail"].iloc[2].endswith("there is no such file")
    before = made.stat().st_mtime_ns
    again = fetched(tmp_path, *wanted)
    assert (again["status"].iloc[0], made.stat().st_mtime_ns) == ("ok", before)


class Hub(BaseHTTPRequestHandler):
    """What a hub answers of the data set me/clips, which has `films/a b.mp4`."""

    def log_message(self, *_: Any) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        if self.path == "/api/datasets/me/clips":
            return self._say(json.dumps({"id": "me/clips", "sha": "0", "siblings": []}).encode())
        facts = {"type": "file", "path": "films/a b.mp4", "size": len(FILM), "oid": "1" * 40}
        if self.path.startswith("/api/datasets/me/clips/tree/main/films?"):
            return self._say(json.dumps([facts]).encode())
        if self.path == "/datasets/me/clips/resolve/main/films/a%20b.mp4":
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            return self._say(FILM[int(first) : int(last) + 1], 206)
        return self._say(b"{}", 404)

    def _say(self, body: bytes, code: int = 200) -> None:
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    fsspec.filesystem("hf").clear_instance_cache()
    yield
    fsspec.filesystem("hf").clear_instance_cache()
    server.shutdown()
    server.server_close()


def test_a_data_set_of_a_hub_gives_films(hub: None, tmp_path: Path) -> None:
    wanted = ("hf://datasets/me/clips/films/a b.mp4", "hf://datasets/me/clips/films/gone.mp4")
    found = fetched(tmp_path, *wanted)
    assert found["status"].tolist() == ["ok", "fetch_failed"], found["detail"].tolist()
    assert (tmp_path / found["path"].iloc[0]).read_bytes() == FILM
    assert found["detail"].iloc[1].endswith("gone.mp4: there is no such file")
    found = fetched(tmp_path, "hf://datasets/me/others/a.mp4")
    assert "it may not be read with the token of this machine" in found["detail"].iloc[0]
