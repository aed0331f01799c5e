"""Memory and processor time of a process with all its descendants, as Linux counts them."""

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_PROC = Path("/proc")
_SAMPLE_S = 0.2
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PARENT, _TIMES = 1, slice(11, 15)  # places in /proc/PID/stat behind the name


class TreeWatch:
    """Watch this process and everything that it starts during a `with` block.

    Attributes:
        peak_bytes: largest memory seen, all processes together; a page that n of them share counts
            1/n in each (proportional set size).
        cpu_seconds: time on all processors, of the tree as it stands at the end and of all that
            ended in it.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self.cpu_seconds = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._cpu_start, _ = measure_tree(os.getpid())
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self._over.set()
        self._thread.join()
        self.cpu_seconds = self._sample() - self._cpu_start

    def _watch(self) -> None:
        while not self._over.wait(_SAMPLE_S):
            self._sample()

    def _sample(self) -> float:
        cpu_seconds, size = measure_tree(os.getpid())
        self.peak_bytes = max(self.peak_bytes, size)
        return cpu_seconds


def measure_tree(root: int) -> tuple[float, int]:
    """Processor seconds, those of ended children included, and memory bytes of a tree now.

    Where the system has no /proc both are 0.
    """
    entries = os.listdir(_PROC) if _PROC.is_dir() else []
    facts = {int(entry): _stat(int(entry)) for entry in entries if entry.isdigit()}
    children: dict[int, list[int]] = {}
    for pid, fields in facts.items():
        if fields:
            children.setdefault(int(fields[_PARENT]), []).append(pid)
    ticks = size = 0
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        if fields := facts.get(pid, []):
            ticks += sum(map(int, fields[_TIMES]))
            size += _proportional_bytes(pid)
    return ticks / _TICKS_PER_S, size


def _stat(pid: int) -> list[str]:
    """Fields of a process behind its name, which may hold anything; empty once it has ended."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _proportional_bytes(pid: int) -> int:
    """Proportional set size of a process; 0 once it has ended."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
