"""One log set-up and one progress display for all commands."""

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from opensora.core.io import not_written
from opensora.core.text import visible

Item = TypeVar("Item")
_SECONDS_BETWEEN_LINES = 10.0


def setup_logging(file: str | Path | None = None, *, tracebacks: bool = False) -> None:
    """Log INFO lines of rank 0 and warnings of the others to standard error.

    Args:
        file: gets the same lines, and the tracebacks of errors that nobody expected.
        tracebacks: standard error gets those as well, because it is the log of a job.

    Raises:
        OSError: the file can not be written.
    """
    rank = int(os.environ.get("RANK", "0"))
    level = logging.INFO if rank == 0 else logging.WARNING
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.DEBUG if tracebacks else level)
    handlers: list[logging.Handler] = [screen]
    if file is not None:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(
            _VisibleFormatter(
                "%(asctime)s %(levelname)s %(name)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"
            )
        )
    logging.basicConfig(handlers=handlers, level=level, force=True)
    logging.getLogger("opensora").setLevel(logging.DEBUG if tracebacks or file else logging.NOTSET)
    for name in (
        "matplotlib",
        "PIL",
        "httpx",
        "httpx2",
        "httpcore",
        "numexpr",
        "fontTools",
        "pyscenedetect",
        "botocore",
        "aiobotocore",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # misses kernels nobody asked for


def say(text: str) -> None:
    """Write to standard output; where its reader has left, as `| head` does, nobody is told.

    Raises:
        OpenSoraError: the disk that it goes to is full.
    """
    if sys.stdout is None:  # closed before the start
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # what is left in the buffer would be tried once more at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise not_written(error, Path("standard output")) from error


class _VisibleFormatter(logging.Formatter):
    """Shows control and direction characters of a line, so that no name or caption forges one."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # logging's own name
        """The line of a record; other libraries' may have several."""
        keep = "" if record.name.startswith("opensora") else "\n\t"
        return visible(super().formatMessage(record), keep=keep)


def progress(
    items: Iterable[Item], *, description: str, total: int | None = None
) -> Iterator[Item]:
    """Yield the items with a bar on a terminal, or with a log line every ten seconds elsewhere."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if sys.stderr.isatty():
        yield from tqdm(items, desc=description, total=total, dynamic_ncols=True, leave=False)
        return
    log = logging.getLogger("opensora.progress")
    started = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES and done != total:
            last = now
            log.info("%s done=%d/%s seconds=%.0f", description, done, total or "?", now - started)
