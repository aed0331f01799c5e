"""One log set-up and one progress display for all commands."""

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
_SECONDS_BETWEEN_LINES = 10.0


def setup_logging(file: str | Path | None = None) -> None:
    """Log INFO lines of rank 0 and warnings of the others to standard error.

    Args:
        file: gets the same lines, and the tracebacks of errors that nobody expected.

    Raises:
        OSError: the file can not be written.
    """
    rank = int(os.environ.get("RANK", "0"))
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if rank == 0 else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        force=True,
    )
    logging.getLogger("opensora").setLevel(logging.NOTSET if file is None else logging.DEBUG)
    if file is not None:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(file, encoding="utf-8")
        handler.setLevel(logging.DEBUG)
        handler.setFormatter(logging.getLogger().handlers[0].formatter)
        logging.getLogger().handlers[0].setLevel(logging.getLogger().level)
        logging.getLogger().addHandler(handler)
    for name in ("matplotlib", "PIL", "httpx", "httpcore", "numexpr", "fontTools", "pyscenedetect"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # misses kernels nobody asked for


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
