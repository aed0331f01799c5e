"""Values of the command line: read, bounded and, where one is wrong, refused in one sentence."""

import argparse
import itertools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from opensora.core.errors import ConfigError, did_you_mean

_LAST_PORT = 65_535
TABLES = (".csv", ".parquet")  # suffixes of tables that are written
_LIKE = 0.7  # of 1: an option less like a word than this is not proposed for it
_LIKE_AN_OPTION = 0.75  # of 1: what is less like an option was meant as a field
_CONFIGS = (".py", ".yaml", ".yml")


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
    """An argument parser that says what is wrong and not, before it, every option there is.

    No option is shortened: a word that a later version may give another end stays unknown.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take the settings of argparse's own."""
        usual = {"formatter_class": Help, "allow_abbrev": False}
        super().__init__(*args, **{**usual, **options})

    def read(
        self, words: Sequence[str], *, takes_fields: bool = False
    ) -> tuple[argparse.Namespace, list[str]]:
        """Read a command line.

        Args:
            words: what follows the command.
            takes_fields: whether options that are not declared are fields of a config, which may
                stand before it: `--lr 1e-4 stage1.py`.

        Returns:
            What was declared; the words of fields.

        Raises:
            UsageError: what is not declared and no field, or does not fit what is declared.
        """
        if not takes_fields:
            self._refuse_unknown(words)
            known, rest = self.parse_known_args(words)
            if rest:
                self.error(f"unrecognized arguments: {' '.join(rest)}")
            return known, []
        declared, fields = self._part(words)
        try:
            known, rest = self.parse_known_args(declared)
        except UsageError:
            for word in fields:
                self.refuse_like(word)
            raise
        return known, [*fields, *rest]

    def likely(self, word: str) -> str:
        """The end of a sentence about a word that is no field: the option it is like, if any."""
        return did_you_mean(word, self._option_string_actions, cutoff=_LIKE_AN_OPTION)

    def refuse_like(self, word: str) -> None:
        """Refuse a word that looks like a declared option.

        Raises:
            UsageError: it does.
        """
        name = _name(word)
        if name and (meant := self.likely(name)):
            raise UsageError(f"{self.prog}: unknown option {name}{meant}")

    def _refuse_unknown(self, words: Sequence[str]) -> None:
        """Name what nobody declared before anything that is missing."""
        parser = self
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                chosen = next((word for word in words if word in action.choices), None)
                if chosen is None:
                    return
                parser = action.choices[chosen]
        options = {**self._option_string_actions, **parser._option_string_actions}
        for place, word in enumerate(words):
            name = _name(word)
            if name and name not in options:
                hint = did_you_mean(name, options, cutoff=_LIKE)
                shown = " ".join([word, *_values(words[place + 1 :])])
                parser.error(f"unrecognized arguments: {shown}{hint}")

    def _part(self, words: Sequence[str]) -> tuple[list[str], list[str]]:
        """Part the words of declared options from those of fields.

        Where options come first, a config file among their values ends these.
        """
        declared: list[str] = []
        fields: list[str] = []
        config: list[str] = []
        ours, is_open = declared, False
        for word in words:
            if word.startswith("--"):
                option = self._option_string_actions.get(_name(word))
                ours = fields if option is None else declared
                is_open = option is None or option.nargs in ("+", "*")
            elif is_open and not config and word.endswith(_CONFIGS) and words[0].startswith("-"):
                config = [word]
                continue
            ours.append(word)
        return [*config, *declared], fields

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            UsageError: always, one sentence.
        """
        raise UsageError(f"{self.prog}: {message}; `{self.prog} --help` shows the options")


def _name(word: str) -> str:
    """The option that a word names, as argparse sees it; empty for a value such as -1."""
    begins = word[:1] == "-" and (word[1:2] == "-" or word[1:2].isalpha())
    return word.partition("=")[0] if begins and " " not in word.partition("=")[0] else ""


def _values(words: Sequence[str]) -> list[str]:
    return list(itertools.takewhile(lambda word: not _name(word), words))


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
