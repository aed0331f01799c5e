"""A server of chat completions that misbehaves as it is told, for tests."""

import base64
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

Behaviour = Callable[[BaseHTTPRequestHandler, dict[str, Any]], bool]


def completion(text: str | None, ending: str = "stop", **message: Any) -> dict[str, Any]:
    return {
        "choices": [{"message": {"content": text, **message}, "finish_reason": ending}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10},
    }


def send(
    handler: BaseHTTPRequestHandler,
    status: int,
    content: dict[str, Any] | bytes,
    headers: dict[str, str] | None = None,
    length: int | None = None,
) -> bool:
    """Answer; says that it was answered."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)
    return True


class CaptionServer:
    """What was asked, and by which key; `behave` answers in its own way or says False."""

    def __init__(self) -> None:
        self.behave: Behaviour = lambda handler, body: False
        self.keys: list[str | None] = []
        self.bodies: list[dict[str, Any]] = []
        self.tries: Counter[str] = Counter()  # by the pictures
        self.at_once = self.most_at_once = 0
        self.delay: Callable[[int], float] = lambda number: 0.0
        self._lock = threading.Lock()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        name = picture_of(body)
        with self._lock:
            self.keys.append(handler.headers.get("Authorization"))
            self.bodies.append(body)
            self.tries[name] += 1
            number = len(self.bodies)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            time.sleep(self.delay(number))
            if not self.behave(handler, body):
                send(handler, 200, completion(f"A box of colour {name} slides over the floor."))
        finally:
            with self._lock:
                self.at_once -= 1


def picture_of(body: dict[str, Any]) -> str:
    """The colour in the middle of the first picture, as six digits."""
    url = body["messages"][0]["content"][0]["image_url"]["url"]
    image = Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2])))
    x, y = image.width // 2, image.height // 2
    return image.convert("RGB").crop((x, y, x + 1, y + 1)).tobytes().hex()


@contextmanager
def serving(server: CaptionServer) -> Iterator[str]:
    """The url of a server that runs meanwhile."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):
                server.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}/v1"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
