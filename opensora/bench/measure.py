"""What every benchmark needs: the machine's name, wall time, processor time, peak memory."""

import ctypes
import gc
import os
import platform
import resource
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import torch

_CPU_INFO = Path("/proc/cpuinfo")
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # see proc(5): resident memory is its own new peak
_PROC = Path("/proc")
_SAMPLE_S = 0.2
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PARENT, _TIMES = 1, slice(11, 15)  # places in /proc/PID/stat behind the name


def machine() -> str:
    """Name the processor, its usable cores and, where torch is loaded and sees one, the GPU."""
    name = platform.processor() or platform.machine()
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    parts = [f"{len(os.sched_getaffinity(0))} cores of {name}"]
    torch = sys.modules.get("torch")
    if torch is not None:
        parts.append(f"torch {torch.__version__}")
        if torch.cuda.is_available():
            parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far, as the system counted it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Stopwatch:
    """Wall and processor seconds of a `with` block.

    Attributes:
        seconds: wall time.
        cpu_seconds: time on all processors, of this process and the children it waited for.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def __enter__(self) -> Self:
        """Start."""
        self._start, self._cpu_start = time.perf_counter(), _cpu_seconds()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.seconds = time.perf_counter() - self._start
        self.cpu_seconds = _cpu_seconds() - self._cpu_start


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class PeakMemory:
    """Peak of a `with` block over the memory at its start.

    On a CPU that is resident memory of the process, after unused memory went back to the system;
    on CUDA what torch has allocated.

    Args:
        device: where the work happens.

    Attributes:
        added_bytes: peak of the block minus start of the block.
    """

    added_bytes: int = 0

    def __init__(self, device: "torch.device") -> None:
        self._cuda = device if device.type == "cuda" else None

    def __enter__(self) -> Self:
        """Give back what is unused and start at the memory of now."""
        gc.collect()
        if self._cuda is not None:
            import torch  # imported here: it would count as memory of stages that do without

            torch.cuda.reset_peak_memory_stats(self._cuda)
            self._start = torch.cuda.memory_allocated(self._cuda)
            return self
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # the GNU C library keeps freed memory otherwise
            trim(0)
        if _CLEAR.exists():
            _CLEAR.write_text(_RESET_PEAK)
        self._start = _resident_bytes()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Read the peak."""
        if self._cuda is not None:
            import torch

            peak = torch.cuda.max_memory_allocated(self._cuda)
        else:
            peak = peak_memory_bytes()
        self.added_bytes = max(peak - self._start, 0)


def _resident_bytes() -> int:
    """Resident memory of now; its peak so far where the system does not tell."""
    if _STATUS.is_file():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return peak_memory_bytes()


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
