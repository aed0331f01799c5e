"""Values of the command line: read, bounded and, where one is wrong, refused in one sentence."""

import argparse
import math
import os
from collections.abc import Callable
from typing import Any, NoReturn

from opensora.core.errors import ConfigError

_LAST_PORT = 65_535
TABLES = (".csv", ".parquet")  # suffixes of tables that are written


class UsageError(ConfigError):
    """A command line that can not be read; the message begins with the command."""


class Help(argparse.RawDescriptionHelpFormatter):
    """Help whose lines fit the terminal, examples stay as they are, and defaults are told."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)

    def _get_help_string(self, action: argparse.Action) -> str:
        said = action.help or ""
        default = _told(action.default)
        is_silent = bool(default) and "default:" not in said
        return f"{said} (default: {default})" if is_silent else said


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong and not, before it, every option there is."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"formatter_class": Help, **options})

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            UsageError: always, one sentence.
        """
        raise UsageError(f"{self.prog}: {message}; `{self.prog} --help` shows the options")


def at_least(least: int, most: int | None = None) -> Callable[[str], int]:
    """A type of whole numbers within bounds, for `add_argument(type=...)`."""
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"expected a whole number {bounds}, not {text!r}")
        return value

    return read


count = at_least(1)
whole = at_least(0)
port = at_least(0, _LAST_PORT)


def number(text: str) -> float:
    """Any finite number."""
    return _within(text, lambda value: True, "a number")


def positive(text: str) -> float:
    """A finite number above 0."""
    return _within(text, lambda value: value > 0, "a number above 0")


def not_negative(text: str) -> float:
    """A finite number of at least 0."""
    return _within(text, lambda value: value >= 0, "a number of at least 0")


def share(text: str) -> float:
    """A number from 0 to 1, both included."""
    return _within(text, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def fraction(text: str) -> float:
    """A number from 0 to below 1: of a part beside which something is left."""
    return _within(text, lambda value: 0 <= value < 1, "a number from 0 to below 1")


def table_file(text: str) -> str:
    """A table to write: of a name that says its format, where a file can be made.

    Hours of work lie between the command line and the table, so it is asked for first.
    """
    path = os.path.abspath(text)
    if not text.lower().endswith(TABLES):
        raise argparse.ArgumentTypeError(f"expected a table, .csv or .parquet, not {text!r}")
    if os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"{text!r} is a folder; name a file in it")
    folder = os.path.dirname(path)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise argparse.ArgumentTypeError(f"{text!r}: {folder} is a file and no folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(
            f"{text} could not be written (Permission denied): {folder} takes no files; change its"
            " rights or choose another place, then run the same command again"
        )
    return text


def _told(default: object) -> str:
    """A default as it is typed; "" where there is nothing to tell."""
    if default is None or isinstance(default, bool) or default in ("", "{}", argparse.SUPPRESS):
        return ""
    if isinstance(default, list | tuple):
        return " ".join(map(_told, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def _within(text: str, holds: Callable[[float], bool], meaning: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and holds(value)):
        raise argparse.ArgumentTypeError(f"expected {meaning}, not {text!r}")
    return value
