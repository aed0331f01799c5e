"""An OpenAI-compatible server that a run asks for captions: `captions.endpoint`.

The key is never part of it: the environment holds it, under the name that `key_env` gives. What may
be a key in a wrong place is refused without being shown.
"""

import json
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from opensora.core.errors import ConfigError, did_you_mean, shown

PLACE = "captions.endpoint"
_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_OURS = frozenset({"model", "messages", "stream", "n"})
_LEAST = {"concurrency": 1, "timeout_s": 0.001, "max_side": 16}


@dataclass(frozen=True)
class Endpoint:
    """Where and how a server is asked.

    Attributes:
        url: what comes before /chat/completions.
        key_env: name of the environment variable with the key; None sends none.
        concurrency: requests at a time.
        timeout_s: longest time for one reply.
        max_side: of a frame in pixels; larger ones are made smaller.
        request: fields of each request beside model and messages.
        prices: of a million tokens of requests and of replies; None counts no cost.

    Raises:
        ConfigError: a value that can not be.
    """

    url: str
    key_env: str | None = None
    concurrency: int = 8
    timeout_s: float = 120.0
    max_side: int = 768
    request: Mapping[str, Any] = field(
        default_factory=lambda: {"max_tokens": 300, "temperature": 0}
    )
    prices: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Refuse what can not be."""
        _check_url(self.url)
        if self.key_env is not None and not _NAME.fullmatch(str(self.key_env)):
            raise ConfigError(
                f"{PLACE}: key_env is no name of an environment variable in capitals, as"
                " OPENAI_API_KEY (it is not shown, in case it is a key); export the key and give"
                " the name here"
            )
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < least:
                raise ConfigError(f"{PLACE}: {name} is {value!r}; expected {least} or more")
        if not isinstance(self.request, Mapping):
            raise ConfigError(f"{PLACE}: request: expected fields and values")
        if ours := sorted(_OURS.intersection(self.request)):
            raise ConfigError(f"{PLACE}: request: {ours[0]} is set by caption-clips; leave it out")
        if self.prices is not None and not _are_prices(self.prices):
            raise ConfigError(
                f"{PLACE}: prices: expected two numbers, of a million tokens of requests and of"
                " replies"
            )


def parse_endpoint(text: str | None) -> Endpoint:
    """Read the fields of an endpoint from JSON.

    Raises:
        ConfigError: no JSON object, an unknown field, or no url.
    """
    try:
        given = json.loads(text or "{}")
    except ValueError as error:
        raise ConfigError(f"--endpoint: expected JSON ({error})") from error
    known = [each.name for each in fields(Endpoint)]
    if not isinstance(given, dict) or not given.get("url"):
        raise ConfigError('--endpoint: expected {"url": "http://localhost:8000/v1"}, and more')
    for name in given:
        if name not in known:
            raise ConfigError(
                f"--endpoint: unknown field {shown(name, 40)!r}{did_you_mean(name, known)}"
            )
    return Endpoint(**given)


def check_asked(captions: Mapping[str, Any], place: str) -> None:
    """Check what the `captions` of a workflow config say of a server.

    Args:
        captions: with its defaults.
        place: start of a sentence.

    Raises:
        ConfigError: a server that nobody asks, no model of it, or a field that can not be.
    """
    if captions["endpoint"] is not None:
        Endpoint(**captions["endpoint"])
    if (captions["endpoint"] is None) == (captions["captioner"] == "openai"):
        raise ConfigError(
            f"{place}: the captioner openai and `endpoint`, the server that it asks, come together;"
            " give both or neither"
        )
    if captions["captioner"] == "openai" and not captions["model"]:
        raise ConfigError(f"{place}: captioner openai needs `model`, as the server calls it")


def _check_url(url: object) -> None:
    text = str(url)
    try:
        parts = urllib.parse.urlsplit(text)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, has_host = urllib.parse.urlsplit(""), False
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            f"{PLACE}: url holds more than host and path, which may be a key (it is not shown); a"
            " key belongs into the environment, its name into key_env"
        )
    is_plain = text.isascii() and text.isprintable() and " " not in text
    if parts.scheme not in ("http", "https") or not has_host or not is_plain:
        raise ConfigError(
            f"{PLACE}: url {shown(text, 200)!r}; expected one such as http://localhost:8000/v1"
        )


def _are_prices(prices: object) -> bool:
    return (
        isinstance(prices, Sequence)
        and len(prices) == 2
        and all(isinstance(price, int | float) and price >= 0 for price in prices)
    )
