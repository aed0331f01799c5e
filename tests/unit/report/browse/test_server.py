"""Who gets what from the server, and what it writes."""

import http.client
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from opensora.core.errors import ConfigError, TableError
from opensora.report.browse.rows import Rows, read_rows
from opensora.report.browse.server import Browser
from opensora.tables.corrections import Correction, read_corrections
from tests.browser.run_folder import make_run

CONTENT = bytes(range(256)) * 40
NONE = {"caption": "", "mark": "", "detail": ""}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Browser]:
    """A table of four rows: a clip, one that is not there, a file of another kind, none."""
    (tmp_path / "a.mp4").write_bytes(CONTENT)
    (tmp_path / "secret.txt").write_text("secret")
    names = ["a.mp4", "gone.mp4", "secret.txt"]
    paths = [*(str(tmp_path / name) for name in names), ""]
    table = pd.DataFrame({"id": list("abcd"), "path": paths, "caption": "<b>"})
    with Browser(Rows("t", table, None), tmp_path / "mine/c.csv", 0) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def ask(server: Browser, path: str, method: str = "GET", body: object = None, **headers: str):
    """Ask as the page does, but for what the headers say; returns status, headers and content."""
    home = f"127.0.0.1:{server.port}"
    given = {"Host": home, "Cookie": f"opensora-{server.port}={server.token}"}
    if body is not None:
        given |= {"Origin": f"http://{home}", "Content-Type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    sent = {name: value for name, value in given.items() if value}
    line.request(method, path, json.dumps(body) if body is not None else None, sent)
    answer = line.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    line.close()
    return found


def test_the_printed_address_gives_the_page_and_a_cookie(server: Browser) -> None:
    status, headers, content = ask(server, server.address.partition(str(server.port))[2], Cookie="")
    assert status == 200
    assert b"browse.js" in content
    cookie = headers["Set-Cookie"]
    assert cookie.startswith(f"opensora-{server.port}={server.token}; HttpOnly; SameSite=Strict")
    assert "connect-src 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/", "/page/core.js", "/data/browse.js", "/media/0", "/?token=x"])
def test_without_the_secret_there_is_nothing(server: Browser, path: str) -> None:
    for cookie in ("", f"opensora-{server.port}=x", "opensora-1=" + server.token, "a\x7f;;=é"):
        status, headers, content = ask(server, path, Cookie=cookie.encode().decode("latin-1"))
        assert status == 403, cookie
        assert b"open the whole address" in content
        assert "Set-Cookie" not in headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "["])
def test_a_name_that_leads_here_is_refused(server: Browser, host: str) -> None:
    assert ask(server, "/", Host=host)[0] == 403


def test_a_forwarded_port_is_served(server: Browser) -> None:
    assert ask(server, "/", Host="localhost:9000")[0] == 200


def test_all_files_of_the_page_are_there(server: Browser) -> None:
    page = ask(server, "/")[2].decode()
    names = re.findall(r'(?:src|href)="((?:page|data)/[^"]+)"', page)
    assert len(names) == 9
    assert {name: ask(server, f"/{name}")[0] for name in names} == dict.fromkeys(names, 200)


def test_only_media_that_rows_name_are_served(server: Browser, tmp_path: Path) -> None:
    status, headers, content = ask(server, "/media/0")
    assert (status, content, headers["Content-Type"]) == (200, CONTENT, "video/mp4")
    others = ("1", "2", "3", "4", "-1", "", "0/", "..", "a.mp4", "%30", "9" * 40)
    found = {name: ask(server, f"/media/{name}")[0] for name in others}
    assert found == dict.fromkeys(others, 404)
    for path in ("/page/../rows.py", "/../../etc/passwd", f"/{tmp_path}/secret.txt", "//a/b"):
        assert ask(server, path)[0] == 404


def test_a_player_seeks(server: Browser) -> None:
    status, headers, content = ask(server, "/media/0", Range="bytes=100-199")
    assert (status, content) == (206, CONTENT[100:200])
    assert headers["Content-Range"] == f"bytes 100-199/{len(CONTENT)}"
    assert ask(server, "/media/0", Range="bytes=-5")[2] == CONTENT[-5:]
    status, headers, _ = ask(server, "/media/0", Range=f"bytes={len(CONTENT)}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")


def test_a_correction_is_written_and_shown(server: Browser) -> None:
    told = {"id": "a", "caption": " a dog ", "mark": "out", "detail": "", "before": NONE}
    status, _, content = ask(server, "/correct", "POST", told)
    assert status == 200
    assert json.loads(content) == {"id": "a", "caption": "a dog", "mark": "out", "detail": ""}
    assert read_corrections(server.corrections) == {"a": Correction("a", "a dog", "out")}
    assert b'"a dog"' in ask(server, "/data/browse.js")[2]
    assert server.corrected == 1
    status, _, content = ask(server, "/correct", "POST", told)
    assert status == 409
    assert "somebody else" in json.loads(content)["sentence"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"id": "z"}, 400),
        ({"id": 3}, 400),
        ({"mark": "maybe"}, 400),
        ({"caption": "x" * 6000}, 400),
        ({"caption": ["x"]}, 400),
        ({"more": ""}, 400),
        ({"before": None}, 400),
        ({"caption": "x" * 200_000}, 413),
    ],
)
def test_what_is_no_correction_writes_nothing(server: Browser, change: dict, status: int) -> None:
    told = {"id": "a", **NONE, "before": NONE} | change
    found, _, content = ask(server, "/correct", "POST", told)
    assert found == status
    assert json.loads(content)["sentence"]
    assert not server.corrections.exists()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Cookie": ""},
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Length": "-1"},
    ],
)
def test_another_page_corrects_nothing(server: Browser, headers: dict[str, str]) -> None:
    told = {"id": "a", **NONE, "mark": "out", "before": NONE}
    assert ask(server, "/correct", "POST", told, **headers)[0] in (403, 404, 413)
    assert not server.corrections.exists()


def test_videos_and_scenes_are_not_corrected(tmp_path: Path) -> None:
    made = make_run(tmp_path)
    rows = read_rows(made.run / "scenes")
    with Browser(rows, tmp_path / "c.csv", 0) as server:
        told = {"id": rows.table["id"][0], **NONE, "mark": "out", "before": NONE}
        with pytest.raises(ConfigError, match="this table has no clip"):
            server.correct(told)


def test_a_port_that_is_taken_and_a_file_of_another_kind_are_said(
    server: Browser, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"--port {server.port}: can not be opened"):
        Browser(server.rows, tmp_path / "c.csv", server.port)
    with pytest.raises(ConfigError, match="--port 70000"):
        Browser(server.rows, tmp_path / "c.csv", 70_000)
    (tmp_path / "c.csv").write_text("path,text\na,b\n")
    with pytest.raises(TableError, match="a table of corrections has no column 'path'"):
        Browser(server.rows, tmp_path / "c.csv", 0)
