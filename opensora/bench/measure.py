"""What every benchmark needs: the machine's name, wall time, processor time, peak memory."""

import os
import platform
import resource
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_CPU_INFO = Path("/proc/cpuinfo")


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
