"""What every Python of a watched run loads first: it writes down which files are looked at.

With this folder on PYTHONPATH, each stat, opening or listing of something below the folder that
OPENSORA_WATCHED names appends its path to the file that OPENSORA_TOUCHED names.
"""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

WATCHED = os.path.realpath(os.environ.get("OPENSORA_WATCHED", "/nowhere")) + os.sep
_CALLS = ("stat", "lstat", "scandir", "listdir", "access", "readlink")


def note(what: str, path: Any) -> None:
    """Write a path down, if it is one of those."""
    if not isinstance(path, str | bytes | os.PathLike):
        return
    place = os.path.join(os.getcwd(), os.fsdecode(path))
    if os.path.normpath(place).startswith(WATCHED):
        log = os.open(os.environ["OPENSORA_TOUCHED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(log, f"{what} {place}\n".encode())
        os.close(log)


def watch(name: str) -> None:
    """Let a function of `os` say what it is asked of."""
    original: Callable[..., Any] = getattr(os, name)

    @functools.wraps(original)
    def watched(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
        note(name, path)
        return original(path, *args, **kwargs)

    setattr(os, name, watched)


def on_event(event: str, arguments: tuple[Any, ...]) -> None:
    """Of what Python opens."""
    if event == "open":
        note("open", arguments[0])


if "OPENSORA_WATCHED" in os.environ:
    for name in _CALLS:
        watch(name)
    sys.addaudithook(on_event)
