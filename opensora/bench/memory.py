"""Memory that one piece of work adds to what is there before it."""

import ctypes
import gc
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from opensora.bench.measure import peak_memory_bytes

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # see proc(5): resident memory is its own new peak


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

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None

    def __enter__(self) -> Self:
        """Give back what is unused and start at the memory of now."""
        gc.collect()
        if self._cuda is not None:
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
