"""The mark of a job that only its user can mend, so that its next tries end at once.

A cluster is asked for many tries, because each time limit uses one up. What a person must mend
(exit code 2) would then be tried as often: the mark beside its log holds the sentence and a hash of
what the command was given. The next run of the workflow removes the marks and tries again.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from opensora.core.io import write_text
from opensora.core.log import say
from opensora.dag.failure import HEAD, user_error

_SUFFIX = ".mark"


def begin(log: str | Path, words: Sequence[str]) -> str:
    """Write the head line of a try, and look for the mark of the one before.

    Args:
        log: that the output of the command is appended to.
        words: of the command.

    Returns:
        The sentence of the mark, if nothing that the command is given has changed since; else "".
    """
    _take_over(Path(log))
    job = os.environ.get("SLURM_JOB_ID")
    place = f", SLURM job {job}" if job else ""
    say(
        f"{HEAD}{words[0]} on {socket.gethostname()}{place}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
    )
    try:
        mark = json.loads(_path(log).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(mark["sentence"]) if mark["given"] == _given(words, log) else ""


def leave(log: str | Path, words: Sequence[str]) -> None:
    """Leave a mark for what the end of the log tells, if another try would meet it again.

    None for workers that died of something else: their node, their memory, a defect.
    """
    sentence = user_error(str(log))
    if sentence:
        mark = {"sentence": sentence, "given": _given(words, log)}
        write_text(_path(log), json.dumps(mark, indent=1) + "\n")


def remove_marks(logs: str | Path, run: str) -> int:
    """Remove the marks of a run; says how many there were.

    Args:
        logs: folder of all logs, {rule}/{run}/...
        run: name of the run.
    """
    found = [path for folder in Path(logs).glob(f"*/{run}") for path in folder.rglob(f"*{_SUFFIX}")]
    for path in found:
        path.unlink()
    return len(found)


def _take_over(log: Path) -> None:
    """Begin a log with what the tries before wrote: Snakemake removes it before each of them.

    A second name of the same file survives that, also where a try is killed.
    """
    kept = log.with_name(f".{log.name}.tries")
    with contextlib.suppress(OSError):  # a file system without second names keeps the last try
        if kept.exists():
            if kept.samefile(log):
                return
            say(kept.read_text(encoding="utf-8", errors="replace"))
            kept.unlink()
        os.link(log, kept)


def _path(log: str | Path) -> Path:
    return Path(f"{log}{_SUFFIX}")


def _given(words: Sequence[str], log: str | Path) -> str:
    """Hash of a command's words, and of size and time of each file among them but its log."""
    found: list[object] = []
    for word in words:
        found.append(word)
        if word != str(log) and len(word) < 4096 and os.path.isfile(word):
            status = os.stat(word)
            found.append((status.st_size, status.st_mtime_ns))
    return sha256(json.dumps(found).encode()).hexdigest()
