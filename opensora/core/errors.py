"""Errors that a user can mend; the command line prints them as one sentence, no traceback."""

import difflib
from collections.abc import Iterable, Sequence

from opensora.core.text import visible

MAX_DETAIL = 1_000  # characters of a reason in a table


def shown(text: str, most: int = MAX_DETAIL) -> str:
    """A text of others in one line: control and direction characters as escapes, not too long."""
    if len(text) > most:
        text = f"{text[: most - 3]}..."
    return visible(text)


class OpenSoraError(Exception):
    """Something the user can mend; the message says what, where, expected and what to do."""


class ConfigError(OpenSoraError):
    """A configuration file, a field or a command-line value is wrong."""


class UnknownFieldError(ConfigError):
    """A field that no config has; `field` is its name, in case an option was meant."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def missing(message: str, words: Sequence[str]) -> ConfigError:
    """What is missing on a command line; if its first field looks like an option, that is said.

    Args:
        message: what is missing.
        words: those of the command line that are no declared options.
    """
    name = next((word[2:].partition("=")[0] for word in words if word.startswith("--")), "")
    return UnknownFieldError(name, message) if name else ConfigError(message)


class TableError(OpenSoraError):
    """A table is missing, lacks a column, or does not add up."""


class StoreError(OpenSoraError):
    """A latent or embedding store is damaged or belongs to another encoder."""


class CheckpointError(OpenSoraError):
    """Weights are missing, damaged, or belong to another model."""


class VideoError(OpenSoraError):
    """A video or an image can not be read.

    Attributes:
        reason: snake_case code, written to the `status` column.
        detail: one sentence for people, of bounded length; control characters are shown.
    """

    def __init__(self, reason: str, detail: str) -> None:
        detail = shown(detail)
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["VideoError"], tuple[str, str]]:
        """Keep both fields when a worker process hands the error to its parent."""
        return type(self), (self.reason, self.detail)


class PassingError(OpenSoraError):
    """What another try may well not meet, as a port that is taken: no sign that a user must act.

    Ends a command with 1, as a defect does, and so leaves no mark that would end the next tries.
    """


class Stopped(OpenSoraError):
    """The run was asked to stop and wrote a checkpoint; the same command continues it."""


def did_you_mean(name: object, known: Iterable[str], *, cutoff: float = 0.5) -> str:
    """The end of a sentence about an unknown name: `; did you mean 'x'?`, or nothing.

    Args:
        name: what was asked for.
        known: what there is.
        cutoff: likeness from 0 to 1 below which nothing is proposed.
    """
    nearest = difflib.get_close_matches(str(name), list(known), n=1, cutoff=cutoff)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
