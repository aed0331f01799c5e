"""Captions of a server that misbehaves: nothing is lost, paid for twice, or told of the key."""

import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from opensora.cli.main import main
from opensora.config.endpoint import Endpoint
from opensora.core.errors import ConfigError, PassingError
from opensora.core.io import sha256_file
from opensora.curation.captions import server as door
from opensora.curation.captions.caption_clips import caption_clips
from opensora.curation.captions.openai import OpenAICaptioner
from opensora.curation.captions.pictures import data_url
from opensora.tables.columns import CAPTIONS, CLIPS
from opensora.tables.io import read_table, write_table
from tests.caption_server import CaptionServer, completion, picture_of, send, serving

KEY = 'sk-very"secret\\key-0123456789'  # JSON writes it in another way
NUM_CLIPS = 12
WHITE = data_url(Image.new("RGB", (16, 16), "white"), 16)


@pytest.fixture
def server() -> CaptionServer:
    return CaptionServer()


@pytest.fixture
def url(server: CaptionServer) -> Iterator[str]:
    with serving(server) as url:
        yield url


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "BACK_OFF_S", 0.002)
    monkeypatch.setenv("CAPTION_KEY", KEY)


@pytest.fixture
def clips(tmp_path: Path) -> pd.DataFrame:
    """Images of one colour each, whose names say so."""
    rows = []
    for k in range(NUM_CLIPS):
        path = tmp_path / f"clip{k}.png"
        Image.fromarray(np.full((32, 48, 3), 20 * k, np.uint8)).save(path)
        rows.append({"id": f"c{k}", "path": str(path), "sha256": sha256_file(path)})
    blank = {**dict.fromkeys(CLIPS.columns, 0), "status": "ok", "detail": "", "kind": "image"}
    return pd.DataFrame([{**blank, "source": "s.png", **row} for row in rows])


def made(url: str, folder: Path | None = None, **fields: Any) -> OpenAICaptioner:
    endpoint = Endpoint(url, key_env="CAPTION_KEY", **fields)
    return OpenAICaptioner("a-model", endpoint, num_frames=2, store=folder)


def statuses(table: pd.DataFrame) -> list[str]:
    return table["status"].tolist()


def test_a_good_server_is_asked_once_a_clip_and_counted(
    server: CaptionServer, url: str, clips: pd.DataFrame
) -> None:
    captioner = made(url, prices=(0.5, 2.0), concurrency=3)
    server.delay = lambda number: 0.02
    table = caption_clips(clips, captioner)
    assert table["caption"][5] == "A box of colour 646464 slides over the floor."
    assert list(table.columns) == [*CAPTIONS.columns, "prompt_tokens", "completion_tokens", "cost"]
    assert table["cost"].tolist() == [(100 * 0.5 + 10 * 2.0) / 1e6] * NUM_CLIPS
    assert captioner.remarks() == [
        "12 replies of a-model (0 known before): 1,200 + 120 tokens, cost 0.0008"
    ]
    assert len(server.bodies) == NUM_CLIPS
    assert set(server.keys) == {f"Bearer {KEY}"}
    assert 1 < server.most_at_once <= 3
    body = server.bodies[0]
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("a-model", 300, 0)
    assert [part["type"] for part in body["messages"][0]["content"]] == ["image_url", "text"]


def test_the_order_of_replies_changes_no_byte(
    server: CaptionServer, url: str, clips: pd.DataFrame, tmp_path: Path
) -> None:
    for name, delay in (("a", lambda n: 0.03 * (n % 4)), ("b", lambda n: 0.03 * (3 - n % 4))):
        server.delay = delay
        table = caption_clips(clips, made(url, tmp_path / name, concurrency=4))
        write_table(table, tmp_path / f"{name}.parquet", CAPTIONS)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    stores = [sorted((tmp_path / name).rglob("*.jsonl")) for name in "ab"]
    assert [p.name for p in stores[0]] == [p.name for p in stores[1]]


def test_what_passes_is_tried_again(server: CaptionServer, url: str, clips: pd.DataFrame) -> None:
    first = [
        lambda h: send(h, 429, {"error": {"message": "slow down"}}, {"Retry-After": "0.2"}),
        lambda h: send(h, 500, b"oh"),
        lambda h: send(h, 200, b'{"choices": [{"mess', length=5000),
        lambda h: send(h, 200, b"<html>busy</html>"),
        lambda h: send(h, 200, {"choices": []}),
        lambda h: send(h, 200, {"error": {"message": "overloaded"}}),
        lambda h: send(h, 503, {"error": "warming up"}),
        lambda h: send(h, 200, b"[" * 500),
        lambda h: send(h, 200, completion(None) | {"choices": [{"message": {"content": 7}}]}),
        lambda h: h.connection.close() or True,
        lambda h: time.sleep(0.6) or send(h, 200, completion("Too late for anyone.")),
    ]

    def behave(handler: Any, body: dict[str, Any]) -> bool:
        name = picture_of(body)
        number = int(name[:2], 16) // 20
        if server.tries[name] > 1 or number >= len(first):
            return False
        return bool(first[number](handler))

    server.behave = behave
    started = time.monotonic()
    table = caption_clips(clips, made(url, timeout_s=0.3))
    assert statuses(table) == ["ok"] * NUM_CLIPS, table["detail"].tolist()
    assert time.monotonic() - started > 0.2  # what Retry-After asked for
    assert max(server.tries.values()) == 2
    assert len(server.bodies) == NUM_CLIPS + len(first)


def test_a_body_that_drips_is_cut_off_at_the_limit(
    server: CaptionServer, url: str, clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "ATTEMPTS", 1)

    def drip(handler: Any, body: dict[str, Any]) -> bool:
        send(handler, 200, b"{", length=1000)
        for _ in range(40):
            time.sleep(0.05)
            handler.wfile.write(b" ")
        return True

    server.behave = drip
    started = time.monotonic()
    with pytest.raises(PassingError, match="not whole after"):
        caption_clips(clips.head(1), made(url, timeout_s=0.3))
    assert time.monotonic() - started < 1.5


def test_replies_that_are_no_captions_are_rows_with_a_reason(
    server: CaptionServer, url: str, clips: pd.DataFrame
) -> None:
    replies = [
        (completion("I'm sorry, but I can't help with that."), "caption_refused"),
        (completion(None, refusal="No."), "caption_refused"),
        (completion("It shows", "content_filter"), "caption_refused"),
        (completion(""), "no_caption"),
        (completion("word " * 40, "length"), "caption_unfinished"),
        (completion("One sentence is whole. The other is", "length"), "ok"),
        (completion("y" * 60_000), "caption_too_long"),
        (completion('<think>hm</think> ```json\n{"caption": "A dog runs home."}\n```'), "ok"),
        (completion([{"type": "text", "text": "In parts, a cat sleeps."}]), "ok"),
        (400, "caption_failed"),
        (451, "caption_refused"),
        (completion("A bird is last."), "ok"),
    ]

    def behave(handler: Any, body: dict[str, Any]) -> bool:
        content = replies[int(picture_of(body)[:2], 16) // 20][0]
        if isinstance(content, int):
            said = "too many tokens" if content == 400 else "blocked by our content policy"
            return send(handler, content, {"error": {"message": said}})
        return send(handler, 200, content)

    server.behave = behave
    table = caption_clips(clips, made(url))
    assert statuses(table) == [reason for _, reason in replies]
    assert table["caption"][5] == "One sentence is whole."
    assert table["caption"][7] == "A dog runs home."
    assert table["detail"][9] == "a-model: answer 400: too many tokens"
    assert len(server.bodies) == NUM_CLIPS  # none of them is tried again
    assert table["prompt_tokens"].isna().tolist() == [k in (9, 10) for k in range(NUM_CLIPS)]


def test_a_server_that_is_down_marks_no_row(
    server: CaptionServer, url: str, clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "ATTEMPTS", 2)
    server.behave = lambda handler, body: send(handler, 502, b"")
    with pytest.raises(PassingError, match="gives no reply for 10 clips in a row"):
        caption_clips(clips, made(url))
    with pytest.raises(PassingError, match="gives no reply for 3 clips"):
        caption_clips(clips.head(3), made(url))
    server.behave = lambda handler, body: send(handler, 400, {"error": {"message": "no vision"}})
    with pytest.raises(ConfigError, match="no vision"):
        caption_clips(clips, made(url))
    with pytest.raises(PassingError, match="no whole reply"):
        caption_clips(clips.head(2), made("http://127.0.0.1:9/v1"))


def test_one_clip_that_breaks_the_server_costs_itself_alone(
    server: CaptionServer, url: str, clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "ATTEMPTS", 2)

    def behave(handler: Any, body: dict[str, Any]) -> bool:
        return picture_of(body) == "282828" and send(handler, 500, b"out of memory")

    server.behave = behave
    table = caption_clips(clips, made(url))
    assert statuses(table) == ["ok", "ok", "caption_failed", *["ok"] * (NUM_CLIPS - 3)]
    assert server.tries["282828"] == 2


def test_known_replies_are_not_asked_for_again(
    server: CaptionServer, url: str, clips: pd.DataFrame, tmp_path: Path
) -> None:
    double = pd.concat([clips, clips.head(2).assign(id=["again0", "again1"])], ignore_index=True)
    table = caption_clips(double, made(url, tmp_path / "store", prices=(1, 1)))
    assert len(server.bodies) == NUM_CLIPS  # equal clips are asked for once
    captioner = made(url, tmp_path / "store", prices=(1, 1), concurrency=1)
    pd.testing.assert_frame_equal(caption_clips(double, captioner), table)
    assert len(server.bodies) == NUM_CLIPS
    assert "(12 known before)" in captioner.remarks()[0]
    for change in ({"max_side": 32}, {"request": {"max_tokens": 9}}):  # another question
        before = len(server.bodies)
        caption_clips(clips, made(url, tmp_path / "store", **change))
        assert len(server.bodies) == before + NUM_CLIPS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_keeps_what_was_answered(
    server: CaptionServer, url: str, clips: pd.DataFrame, tmp_path: Path, number: signal.Signals
) -> None:
    write_table(clips, tmp_path / "clips.parquet", CLIPS)
    command = [
        *(sys.executable, "-m", "opensora.cli.main", "caption-clips", "--captioner", "openai"),
        *("--model", "m", "--clips", str(tmp_path / "clips.parquet")),
        *("--output", str(tmp_path / "captions.parquet"), "--store", str(tmp_path / "store")),
        *("--endpoint", json.dumps({"url": url, "key_env": "CAPTION_KEY", "concurrency": 2})),
    ]
    server.delay = lambda n: 0.0 if n <= 4 else 0.8
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while len(server.bodies) < 6 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert not (tmp_path / "captions.parquet").exists()
    answered = len(server.bodies)
    assert answered < NUM_CLIPS
    server.delay = lambda n: 0.0
    subprocess.run(command, check=True, timeout=60, stderr=subprocess.DEVNULL)
    assert len(server.bodies) == NUM_CLIPS
    assert statuses(read_table(tmp_path / "captions.parquet", CAPTIONS)) == ["ok"] * NUM_CLIPS


def test_a_redirect_is_not_followed(server: CaptionServer, url: str, clips: pd.DataFrame) -> None:
    other = CaptionServer()
    with serving(other) as elsewhere:
        for status in (301, 302, 303, 307, 308):
            server.behave = lambda handler, body, status=status: send(
                handler, status, b"", {"Location": f"{elsewhere}/chat/completions?k={KEY}"}
            )
            with pytest.raises(ConfigError, match="no request follows it") as error:
                caption_clips(clips.head(1), made(url))
            assert KEY not in str(error.value)
    assert other.bodies == []


ECHOES = {
    "refused key": lambda h: send(h, 401, {"error": {"message": f"Incorrect API key: {KEY}"}}),
    "raw refusal": lambda h: send(h, 403, json.dumps({"oh": KEY}).encode()),
    "unknown model": lambda h: send(h, 404, f"nothing for {KEY}".encode()),
    "bad request": lambda h: send(h, 400, {"error": {"message": KEY * 40}}),
    "cut key": lambda h: send(h, 400, {"error": {"message": "x" * 185 + KEY}}),
    "not JSON": lambda h: send(h, 200, f"hello {KEY}".encode()),
    "in JSON of a kind": lambda h: send(h, 200, {"key": KEY}),
    "down": lambda h: send(h, 500, {"error": {"message": f"key {KEY} crashed me"}}),
    "status line": lambda h: h.wfile.write(f"HTTP/1.1 500 {KEY}\r\n\r\n".encode()) or True,
    "no status line": lambda h: h.wfile.write(f"{KEY}\r\n\r\n".encode()) or True,
    "in the caption": lambda h: send(h, 200, completion(f"A sign that says {KEY} stands there.")),
    "in the ending": lambda h: send(h, 200, completion("A box slides home.", KEY)),
    "in a refusal": lambda h: send(h, 200, completion(None, refusal=f"not with {KEY}")),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_the_key_stands_nowhere(
    echo: str,
    server: CaptionServer,
    url: str,
    clips: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(door, "ATTEMPTS", 2)
    server.behave = lambda handler, body: ECHOES[echo](handler)
    work = tmp_path / "work"
    write_table(clips, work / "clips.parquet", CLIPS)
    words = [
        *("caption-clips", "--captioner", "openai", "--model", "m"),
        *("--clips", str(work / "clips.parquet"), "--output", str(work / "captions.csv")),
        *("--store", str(work / "store"), "--log-file", str(work / "log.txt")),
        *("--endpoint", json.dumps({"url": url, "key_env": "CAPTION_KEY"})),
    ]
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    try:
        main(words)
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
    said = "".join(capfd.readouterr())
    said += "".join(
        p.read_text(errors="replace") for p in work.rglob("*.*") if p.suffix != ".parquet"
    )
    assert server.keys[0] == f"Bearer {KEY}"
    for piece in ("very", "secret", "0123456789"):
        assert piece not in said, said
    assert len(said) > 20


def test_what_may_be_a_key_in_a_wrong_place_is_not_shown(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fields in (
        {"key_env": "sk-abc123"},
        {"key_env": "abcdef0123456789"},
        {"url": "http://user:sk-abc123@host/v1"},
        {"url": "http://host/v1?key=sk-abc123"},
        {"url": "http://host/v1#sk-abc123"},
    ):
        with pytest.raises(ConfigError, match="not shown") as error:
            Endpoint(**{"url": url, **fields})
        assert "abc" not in str(error.value)
    monkeypatch.delenv("CAPTION_KEY")
    with pytest.raises(ConfigError, match="CAPTION_KEY, named by key_env, is not set"):
        made(url)
    monkeypatch.setenv("CAPTION_KEY", "two\nlines-of-it")
    with pytest.raises(ConfigError, match="is no key") as error:
        made(url)
    assert "lines" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"url": "file:///etc/passwd"}, "expected one such as"),
        ({"url": "localhost:8000"}, "expected one such as"),
        ({"url": "http://a b/"}, "expected one such as"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"timeout_s": 0}, "timeout_s is 0"),
        ({"request": {"messages": []}}, "messages is set by caption-clips"),
        ({"prices": [1]}, "expected two numbers"),
    ],
)
def test_settings_that_can_not_be_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Endpoint(**{"url": "http://host/v1", **fields})


def test_pauses_are_bounded_doubled_and_drawn_by_name(
    server: CaptionServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.behave = lambda handler, body: send(handler, 500, b"")
    body = {"messages": [{"content": [{"image_url": {"url": WHITE}}]}]}
    waits: dict[str, list[float]] = {}
    for name in ("a", "b", "a again"):
        asked = door.Server(url, None, 5.0)
        waits[name] = []
        monkeypatch.setattr(asked.stop, "wait", lambda s, to=waits[name]: to.append(s))
        with pytest.raises(door.NoReply):
            asked.ask(body, name[0])
    assert waits["a"] == waits["a again"] != waits["b"]
    for attempt, wait in enumerate(waits["a"]):
        assert 0.5 <= wait / (door.BACK_OFF_S * 2**attempt) <= 1
    assert len(waits["a"]) == door.ATTEMPTS - 1
    assert server.keys[0] is None
