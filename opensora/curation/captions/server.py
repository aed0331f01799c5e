"""The door to an OpenAI-compatible server: a request in, a reply and what it took out.

The key is read from the environment, goes into one header and nowhere else: whatever a server says,
in replies and errors alike, is masked before anyone sees it.
"""

import http.client
import json
import os
import re
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace
from typing import Any

from opensora.core.errors import ConfigError, shown
from opensora.core.seed import derive_seed
from opensora.curation.captions.chat import Reply, message_of, parse_reply, seconds_of

ATTEMPTS = 7
BACK_OFF_S = 1.0  # before the second attempt at most; doubled before each that follows
LONGEST_WAIT_S = 300.0  # that a server may ask for; more counts as no answer
MASK = "[key]"
_REPLY_BYTES = 4 << 20
_PIECE_BYTES = 1 << 16
_SHOWN = 200  # characters of what a server says
_PASSING = frozenset({408, 409, 425, 429})  # and all from 500 on: another try may do
_LEAST_SECRET = 6  # characters; "EMPTY" and its like are no keys, and may be words of a reply
_FILTERED = re.compile(r"content[ _-]?(?:policy|filter)|moderation", re.I)
_STEPS = 1 << 20  # of the random part of a pause


class NoReply(Exception):
    """A request without a reply.

    Attributes:
        detail: one sentence, without the key.
        passing: another run may well have it.
        is_refused: the server's filter did not let the request through.
        wait_s: seconds that the server asks to wait.
    """

    def __init__(
        self, detail: str, *, passing: bool, is_refused: bool = False, wait_s: float = 0.0
    ) -> None:
        super().__init__(detail)
        self.detail, self.passing, self.is_refused = detail, passing, is_refused
        self.wait_s = wait_s


# all that an opener usually has, but what follows redirects: a key goes to the host that the user
# named and to no other
_HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.HTTPDefaultErrorHandler,
)


class Server:
    """A server of chat completions.

    Args:
        url: what comes before /chat/completions, as http://localhost:8000/v1.
        key_env: name of the environment variable with the key; None sends none.
        timeout_s: longest time for one reply.

    Raises:
        ConfigError: no such variable, or what it holds is no key.
    """

    def __init__(self, url: str, key_env: str | None, timeout_s: float) -> None:
        self.url = url.rstrip("/").removesuffix("/chat/completions")
        self._key = _key_of(key_env)
        self._key_env = key_env
        self.timeout_s = timeout_s
        self._opener = urllib.request.OpenerDirector()
        for handler in _HANDLERS:
            self._opener.add_handler(handler())
        self.stop = threading.Event()  # ends all pauses

    def ask(self, body: dict[str, Any], name: str) -> Reply:
        """Send a request, again after a pause where that may help.

        Args:
            body: of the request, as JSON.
            name: of the request, from which the random part of pauses follows.

        Raises:
            NoReply: there is none after all attempts.
            ConfigError: the key, the address or the model is refused.
        """
        data = json.dumps(body).encode()
        for attempt in range(ATTEMPTS):
            try:
                return self._once(data)
            except NoReply as error:
                if not error.passing or attempt == ATTEMPTS - 1 or error.wait_s > LONGEST_WAIT_S:
                    raise
                share = derive_seed("back off", name, attempt) % _STEPS / _STEPS
                pause = max(error.wait_s, BACK_OFF_S * 2**attempt * (1 + share) / 2)
            if self.stop.wait(pause):
                break
        raise NoReply("stopped before there was a reply", passing=True)

    def _once(self, data: bytes) -> Reply:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(f"{self.url}/chat/completions", data, headers)
        try:
            with self._opener.open(request, timeout=self.timeout_s) as response:
                content = self._read(response)
        except urllib.error.HTTPError as error:
            raise self._fault(error) from None
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", None) or error
            words = self._shown(f"{type(cause).__name__}: {cause}")
            raise NoReply(f"no whole reply ({words})", passing=True) from None
        return self._parsed(content)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """The whole body: many small pieces may each come in time, and all of them too late."""
        end = time.monotonic() + self.timeout_s
        pieces: list[bytes] = []
        while piece := response.read1(_PIECE_BYTES):
            pieces.append(piece)
            if time.monotonic() > end:
                raise TimeoutError(f"not whole after {self.timeout_s:g} s")
            if sum(map(len, pieces)) > _REPLY_BYTES:
                raise http.client.HTTPException(f"more than {_REPLY_BYTES} bytes")
        if response.length:  # read1 does not say that the rest never came
            raise http.client.IncompleteRead(b"", response.length)
        return b"".join(pieces)

    def _parsed(self, content: bytes) -> Reply:
        try:
            reply = parse_reply(content)
        except ValueError:
            said = self._shown(content.decode(errors="replace"))
            raise NoReply(f"not the JSON of a chat completion: {said!r}", passing=True) from None
        return replace(reply, text=self._masked(reply.text), ending=self._masked(reply.ending))

    def _fault(self, error: urllib.error.HTTPError) -> Exception:
        """What an answer with a number of an error means."""
        try:
            said = error.read(_REPLY_BYTES).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            said = ""
        error.close()
        words = self._shown(message_of(said) or str(error.reason))
        where = f"{self.url} answers {error.code} ({words})"
        if error.code in (401, 403):
            key = f"the key in ${self._key_env}" if self._key else "captions.endpoint.key_env"
            return ConfigError(f"caption-clips: {where}; check {key}")
        if 300 <= error.code < 400:
            return ConfigError(
                f"caption-clips: {where} and leads to"
                f" {self._shown(str(error.headers.get('Location')))!r}; no request follows it: give"
                " the last address as url"
            )
        if error.code == 404:
            return ConfigError(f"caption-clips: {where}; check url and model")
        passing = error.code in _PASSING or error.code >= 500
        return NoReply(
            f"answer {error.code}: {words}",
            passing=passing,
            is_refused=not passing and bool(_FILTERED.search(said)),
            wait_s=seconds_of(error.headers.get("Retry-After")) if passing else 0.0,
        )

    def _masked(self, text: str) -> str:
        if self._key is None or len(self._key) < _LEAST_SECRET:
            return text
        for form in (self._key, json.dumps(self._key)[1:-1]):
            text = text.replace(form, MASK)
        return text

    def _shown(self, text: str) -> str:
        return shown(" ".join(self._masked(text).split()), _SHOWN)


def _key_of(name: str | None) -> str | None:
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise ConfigError(
            f"caption-clips: the environment variable {name}, named by key_env, is not set; export"
            " it where the job runs"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(
            f"caption-clips: the value of {name} is no key, which has neither spaces nor line"
            " breaks"
        )
    return key
