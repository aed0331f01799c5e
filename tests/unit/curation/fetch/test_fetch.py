"""Files from a local server that misbehaves in known ways, and from a store of fsspec."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest

from opensora.cli.main import EXIT_DONE, EXIT_USER, main
from opensora.core.errors import OpenSoraError
from opensora.curation.fetch.address import address_of
from opensora.curation.fetch.fetch import Fetched, fetch
from opensora.tables.columns import FETCHED
from opensora.tables.io import read_table

FILM = bytes(range(256)) * 40
ELSEWHERE = "it redirects too often, or to what is no address of http or https"
DIGEST = hashlib.sha256(FILM).hexdigest()


class Server(BaseHTTPRequestHandler):
    """`/ok.mp4` and others of which each path says what is wrong with it."""

    asked: ClassVar[Counter[str]] = Counter()
    ranges: ClassVar[list[str]] = []
    both: ClassVar[threading.Barrier]
    leave: ClassVar[threading.Event]

    def log_message(self, *words: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        kind = self.path.partition("?")[0].strip("/").removesuffix(".mp4")
        self.asked[kind] += 1
        first = self.asked[kind] == 1
        if kind == "away":
            return self._say(404)
        if kind == "busy" and first:
            return self._say(503)
        if kind.startswith("to_"):
            places = {
                "to_ok": "/ok.mp4",
                "to_file": "file:///etc/hostname",
                "to_ftp": "ftp://127.0.0.1/x",
                "to_itself": "/to_itself.mp4",
            }
            return self._say(302, Location=places[kind])
        wanted = self.headers.get("Range", "")
        if kind in ("torn", "changing") and wanted:
            self.ranges.append(wanted)
        if kind == "stalled":
            return self._stall()
        if kind == "both":
            Server.both.wait(5)
        start = 0
        if kind == "torn" and wanted and self.headers.get("If-Range") == '"v1"':
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        etag = f'"v{self.asked[kind]}"' if kind == "changing" else '"v1"'
        body = b"" if kind == "empty" else FILM[start:]
        self.send_response(206 if start else 200)
        self.send_header("ETag", etag)
        if kind != "no_length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = kind == "always_torn" or (kind in ("torn", "changing") and first)
        self.wfile.write(body[:100] if cut else body)
        self.close_connection = True
        return None

    def _stall(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2000000")
        self.end_headers()
        self.wfile.write(bytes(1_100_000))
        self.leave.wait(60)

    def _say(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Server.asked.clear()
    Server.ranges.clear()
    Server.both, Server.leave = threading.Barrier(2), threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        Server.leave.set()
        running.shutdown()
        thread.join()


def got(address: str, folder: Path, digest: str = "", limit: int = 10**6) -> Fetched:
    pair = (address_of(address), digest)
    (found,) = fetch([pair], folder, limit=limit, timeout_s=5, pause_s=0.01)
    assert not list(folder.glob(".*.part"))
    return found


@pytest.mark.parametrize("kind", ["ok", "busy", "torn", "changing", "to_ok", "no_length"])
def test_a_file_comes_whole(server: str, tmp_path: Path, kind: str) -> None:
    found = got(f"{server}/{kind}.mp4", tmp_path, DIGEST)
    assert (found.status, found.bytes, found.sha256) == ("ok", len(FILM), DIGEST)
    assert (tmp_path / found.name).read_bytes() == FILM
    assert (found.host, found.name[-4:]) == ("127.0.0.1", ".mp4")
    if kind == "torn":
        assert Server.ranges == ["bytes=100-"]  # it went on where it broke off


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("away", "the server answers 404"),
        ("to_file", ELSEWHERE),
        ("to_ftp", "it redirects from http to ftp"),
        ("to_itself", ELSEWHERE),
        ("empty", "the file is empty"),
        ("always_torn", "100 of 10240 bytes came, 5 times"),
    ],
)
def test_what_does_not_come_says_why(server: str, tmp_path: Path, kind: str, sentence: str) -> None:
    found = got(f"{server}/{kind}.mp4?key=secret", tmp_path)
    assert (found.status, found.bytes) == ("fetch_failed", 0)
    assert found.detail == f"{server}/{kind}.mp4: {sentence}"
    assert not list(tmp_path.glob("*"))


def test_nobody_there_is_tried_again(tmp_path: Path) -> None:
    found = got("http://127.0.0.1:9/a.mp4", tmp_path)
    assert found.status == "fetch_failed"
    assert "no answer" in found.detail
    assert found.detail.endswith(", 5 times")


def test_another_content_is_refused(server: str, tmp_path: Path) -> None:
    found = got(f"{server}/ok.mp4", tmp_path, "0" * 64)
    assert found.status == "wrong_hash"
    assert not list(tmp_path.glob("*"))


def test_the_limit_holds_with_what_is_there(server: str, tmp_path: Path) -> None:
    names = [f"{server}/{kind}.mp4" for kind in ("ok", "no_length", "to_ok")]
    limit = 2 * len(FILM) + 10
    wanted = [(address_of(name), "") for name in names]
    for _ in range(2):
        found = fetch(wanted, tmp_path, limit=limit, workers=1, pause_s=0.01)
        assert [one.status for one in found] == ["ok", "ok", "over_limit"]
    assert Server.asked["no_length"] == 1  # the second time it was there


def test_a_file_is_fetched_once_and_again_when_it_has_gone(server: str, tmp_path: Path) -> None:
    first = got(f"{server}/ok.mp4", tmp_path)
    assert got(f"{server}/ok.mp4", tmp_path) == first
    assert Server.asked["ok"] == 1
    (tmp_path / first.name).write_bytes(b"torn")
    assert got(f"{server}/ok.mp4", tmp_path) == first
    assert Server.asked["ok"] == 2
    assert (tmp_path / first.name).read_bytes() == FILM


class Store:
    """The two calls of fsspec's S3 and hub, over what is given."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def info(self, path: str) -> dict[str, object]:
        if path.endswith("secret.mkv"):
            raise PermissionError(path)
        if path not in self._files:
            raise FileNotFoundError(path)
        return {"size": len(self._files[path]), "ETag": '"abc"'}

    def open(self, path: str, mode: str) -> io.BytesIO:
        assert mode == "rb"
        return io.BytesIO(self._files[path])


def test_a_store_gives_files_and_says_what_it_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store({"s3://bucket/a.mkv": FILM})
    monkeypatch.setattr(fsspec, "filesystem", lambda scheme: {"s3": store}[scheme])
    found = got("s3://bucket/a.mkv", tmp_path, DIGEST)
    assert (found.status, found.bytes, found.etag) == ("ok", len(FILM), "abc")
    assert (tmp_path / found.name).read_bytes() == FILM
    assert got("s3://bucket/b.mkv", tmp_path).detail == "s3://bucket/b.mkv: there is no such file"
    assert "may not be read" in got("s3://bucket/secret.mkv", tmp_path).detail


def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(scheme: str) -> None:
        raise ImportError(scheme)

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(OpenSoraError, match="s3:// needs a package: pip install s3fs"):
        got("s3://bucket/a.mkv", tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        *("file:///etc/passwd", "ftp://a/b", "/etc/passwd", "http://", "http:///x", "a b"),
        *("http://a/b c", "http://a/b\r\nX: y", "simplecache::s3://a/b", "data:text/plain,x", ""),
    ],
)
def test_no_other_address_is_taken(text: str) -> None:
    with pytest.raises(ValueError, match="is no address of http, https, s3, hf"):
        address_of(text)


def test_keys_are_shown_nowhere() -> None:
    found = address_of("https://me:pass@host/a/../b.mp4?X-Amz-Signature=abc#x")
    assert found.shown == "https://host/a/../b.mp4"
    assert "/" not in found.name
    assert found.name.startswith("b-")
    assert address_of("https://host/run.sh").name.endswith(".sh") is False


def test_the_command_writes_a_list_that_ingest_takes(
    server: str, tmp_path: Path, tiny_video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    addresses = tmp_path / "list.csv"
    addresses.write_text(
        f"url,licence\n{server}/ok.mp4,CC0\n{server}/ok.mp4,CC0\n{server}/away.mp4,\nftp://x/y,\n"
    )
    table = tmp_path / "in/videos.csv"
    words = ["--output", f"{tmp_path}/files", "--table", str(table)]
    assert main(["fetch", str(addresses), *words]) == EXIT_DONE
    said = capsys.readouterr().out.strip()
    assert said.startswith("fetch: 2 of 4 files, 2.05e-05 GB from 127.0.0.1, 2 fetch_failed ->")
    rows = read_table(table, FETCHED)
    assert rows["status"].tolist() == ["ok", "ok", "fetch_failed", "fetch_failed"]
    assert rows["licence"].tolist() == ["CC0", "CC0", "", ""]
    good = tmp_path / "in" / rows["path"][0]
    good.write_bytes(tiny_video.read_bytes())  # what a server has is a film
    videos = tmp_path / "v.csv"
    assert main(["ingest-videos", str(table), "--output", str(videos)]) == EXIT_DONE
    found = read_table(videos)
    assert sorted(found["status"]) == ["missing", "missing", "ok"]
    assert found["licence"].tolist().count("CC0") == 1
    for text, sentence in (("name\nx\n", "no column url"), ("url,sha256\nx,y\n", "is no sha256")):
        addresses.write_text(text)
        assert main(["fetch", str(addresses), *words]) == EXIT_USER
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_does_not_wait_for_a_server_that_says_nothing(
    server: str, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "list.csv").write_text(f"url\n{server}/ok.mp4\n{server}/stalled.mp4\n")
    command = [
        *(sys.executable, "-m", "opensora.cli.main", "fetch", str(tmp_path / "list.csv")),
        *("--output", f"{tmp_path}/files", "--table", f"{tmp_path}/videos.csv"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("files/.*.part")) and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(number)
    begin = time.monotonic()
    _, said = process.communicate(timeout=50)
    assert time.monotonic() - begin < 30  # a server may say nothing for 60 s
    assert (process.returncode, said.count("\n")) == (75, 1), said
    assert said.startswith("opensora: stopped by ")
    assert not (tmp_path / "videos.csv").exists()
    names = {path.name.partition("-")[0] for path in (tmp_path / "files").iterdir()}
    assert names == {"ok", ".fetched.jsonl"}


def test_two_may_fill_one_folder(server: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        pair = (address_of(f"{server}/both.mp4"), "")
        calls = [pool.submit(fetch, [pair], tmp_path, limit=10**6) for _ in range(2)]
        found = [call.result()[0] for call in calls]
    assert [one.status for one in found] == ["ok", "ok"]
    assert (tmp_path / found[0].name).read_bytes() == FILM


def test_the_part_of_a_fetch_that_was_killed_goes(server: str, tmp_path: Path) -> None:
    for name, age in ((".old.mp4.0123.part", 7200), (".new.mp4.4567.part", 60)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    pair = (address_of(f"{server}/ok.mp4"), "")
    fetch([pair], tmp_path, limit=10**6, timeout_s=5, pause_s=0.01)
    assert [path.name for path in tmp_path.glob(".*.part")] == [".new.mp4.4567.part"]
