"""How a process computes: its threads, set before libraries are loaded, and memory it keeps."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from opensora.core.errors import ConfigError

# every library that multiplies matrices reads one of these when it is loaded
_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc takes no more
_NEVER = 2**31 - 1


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads() -> int:
    """OMP_NUM_THREADS where it is set, else every core that this process may use.

    Raises:
        ConfigError: OMP_NUM_THREADS is no number of threads.
    """
    given = os.environ.get("OMP_NUM_THREADS")
    if not given:
        return available_cores()
    first = given.split(",")[0]  # a list names a number for each level of nesting
    if not first.strip().isdigit() or int(first) < 1:
        raise ConfigError(f"OMP_NUM_THREADS is {given!r}; expected a number of threads, as 4")
    return int(first)


def use_threads(count: int) -> None:
    """Compute with so many threads from here on, in this process and in those that it starts.

    Results depend on it in their last bits, because sums are split differently.

    Raises:
        ConfigError: less than one thread.
    """
    if count < 1:
        raise ConfigError(f"--threads {count}: expected at least 1")
    for name in _VARIABLES:
        os.environ[name] = str(count)
    # A thread that waits for another one sleeps. By default it would spin for milliseconds, which
    # on busy cores takes the time of the very thread that is waited for, several times over.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if "torch" in sys.modules:  # loaded already, in a process that runs several commands
        sys.modules["torch"].set_num_threads(count)


def threads_in_use() -> int:
    """The number that `use_threads` set, to be recorded with a result."""
    return default_threads()


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, where there is a glibc.

    By default each large tensor is mapped anew and zeroed page by page: a tenth of the processor
    time of a training step on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_TRIM_THRESHOLD, _NEVER)


@contextmanager
def worker_pool(workers: int, *, method: str = "spawn") -> Iterator[ProcessPoolExecutor]:
    """Processes to hand work to; where it is left early, what is in hand is the last they do.

    Args:
        workers: how many.
        method: of multiprocessing to start them.
    """
    context = get_context(method)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_to_parent)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_to_parent() -> None:
    """A terminal sends Ctrl-C to all processes: what it means is for the one that started them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
