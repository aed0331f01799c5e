"""Why a job failed, in one sentence out of its log."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from opensora.core.io import NOT_WRITTEN
from opensora.core.text import visible

_TAIL_BYTES = 1 << 16
_MAX_SENTENCE = 1000  # characters
_COMMAND = re.compile(r"opensora(?: [\w-]+)?: (.+)")
# the launcher of several workers ends with this; why stands in the lines of the worker
_LAUNCHER = re.compile(r"(?:worker \d+|srun) ended with exit code (-?\d+)")
_TRACEBACK = "Traceback (most recent call last):"
_RANK = re.compile(r"\[rank\d+\]: ?")
_ORDINARY = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?:DEBUG|INFO|WARNING) ")
HEAD = "=== opensora "  # begins the line that each try of a job writes first
HEAD_LINE = re.compile(rf"^{HEAD}.*\n?", re.M)
_STATUS = re.compile(r"returned non-zero (exit status \d+)|died with <Signals\.(\w+)")


@dataclass(frozen=True)
class JobFailure:
    """A job that failed.

    Attributes:
        rule: its rule.
        name: rule and wildcards, as `train stage2`.
        sentence: why.
        log: file that says more; "" for none.
    """

    rule: str
    name: str
    sentence: str
    log: str

    def lines(self) -> list[str]:
        """What people read."""
        stopped = self.sentence.startswith("stopped: ")  # with a checkpoint: nothing is wrong
        first = (
            f"{self.name} {self.sentence}" if stopped else f"{self.name} failed: {self.sentence}"
        )
        lines = [first, f"log: {self.log}"] if self.log else [first]
        return list(map(visible, lines))


def why(logs: Sequence[str], error: str = "", message: str = "") -> tuple[str, str]:
    """Say why a job failed.

    Args:
        logs: its log files; the first that holds a sentence counts.
        error: Snakemake's text about the command, which has its exit status.
        message: what the executor said, such as the state of a cluster's job.

    Returns:
        A sentence and the log that says more ("" for none).
    """
    texts = [(path, _tail(path)) for path in logs]
    for path, text in texts:
        if found := sentence(text):
            return found, path
    status = exit_status(error) or "it ended"
    path, text = next((entry for entry in texts if entry[1].strip()), (logs[0] if logs else "", ""))
    if message:
        return message, path
    if not logs:
        return f"{status}; it has no log", ""
    last = text.strip().rpartition("\n")[2]
    if not last:
        return f"{status}, and its log is empty", path
    if _ORDINARY.match(last):
        return f"{status} without an error message; its last line: {last}"[:_MAX_SENTENCE], path
    return f"{last} ({status})"[:_MAX_SENTENCE], path


def sentence(text: str) -> str:
    """The last complaint in a log: a command's own, or what a traceback ends with; "" for none.

    A command of opensora writes `opensora NAME: sentence` about what the user can mend (exit code
    2) and leaves the traceback of a defect (exit code 1).
    """
    found, inside = "", False
    for raw in text.splitlines():
        line = _RANK.sub("", raw, count=1) if raw.startswith("[rank") else raw
        if line.startswith(_TRACEBACK):
            inside = True
        elif inside and line and not line[0].isspace():
            found, inside = line, False
        elif (own := _COMMAND.match(line)) and not _LAUNCHER.match(own[1]):
            found = own[1]
    return found.strip()[:_MAX_SENTENCE]


def user_error(log: str) -> str:
    """The sentence about what the user must mend, at the end of a log; "" for any other end.

    A full disk is none: others fill and free it, and no file of the job tells when.
    """
    text = _tail(log)
    said = [found[1] for line in text.splitlines() if (found := _COMMAND.match(line))]
    launcher = _LAUNCHER.match(said[-1]) if said else None
    if not said or (launcher and launcher[1] != "2"):
        return ""
    last = sentence(text)
    return "" if f": {NOT_WRITTEN} (" in last else last


def last_try(text: str) -> str:
    """What the last try of a job wrote: its log is appended to, with a head line each."""
    return HEAD_LINE.split(text)[-1]


def exit_status(error: str) -> str:
    """`exit status 2` or `killed by SIGKILL`, from Snakemake's text; "" where it does not say."""
    found = _STATUS.search(error)
    if found is None:
        return ""
    return found[1] or f"killed by {found[2]}"


def _tail(path: str) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return last_try(text)
