"""What an OpenAI-compatible server says: replies, sentences of errors, how long to wait."""

import email.utils
import json
import re
import time
from dataclasses import dataclass
from typing import Any

from opensora.core import limits
from opensora.tables.columns import TOKENS


@dataclass(frozen=True)
class Reply:
    """What a model wrote.

    Attributes:
        text: its words, "" for none.
        ending: why it ended, as the server calls it: "stop", "length", "content_filter".
        prompt_tokens: of the request, 0 where the server does not say.
        completion_tokens: of the reply.
    """

    text: str
    ending: str
    prompt_tokens: int
    completion_tokens: int


def parse_reply(content: bytes) -> Reply:
    """Read the body of a chat completion.

    Raises:
        ValueError: it is none.
    """
    try:
        text = content.decode()
        limits.check_depth(text)
        value = json.loads(text)
        choice = value["choices"][0]
        message = choice["message"]
        words, ending = _words(message), str(choice.get("finish_reason") or "stop")
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError("no chat completion") from error
    if not words and message.get("refusal"):
        words, ending = str(message["refusal"]), "content_filter"
    used = value.get("usage")
    return Reply(words, ending, *(_count(used, name) for name in TOKENS))


def _words(message: dict[str, Any]) -> str:
    """The text of a message, which may come in parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part["text"]) for part in content if part.get("type") == "text")
    if not isinstance(content, str | None):
        raise TypeError("no text")
    return content or ""


def _count(used: object, name: str) -> int:
    value = used.get(name) if isinstance(used, dict) else None
    return value if isinstance(value, int) and 0 <= value < 1 << 40 else 0


def message_of(said: str) -> str:
    """The sentence in an error of such servers; else all of it."""
    try:
        limits.check_depth(said)
        error = json.loads(said)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, LookupError, TypeError):
        return said


def seconds_of(text: str | None) -> float:
    """What Retry-After asks for, in seconds from now; 0 for what says nothing."""
    text = (text or "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, date.timestamp() - time.time())
