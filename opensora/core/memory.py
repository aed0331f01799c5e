"""Memory that a step frees stays with the process, for the next step to take."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc takes no more
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, where there is a glibc.

    By default each large tensor is mapped anew and zeroed page by page: a tenth of the processor
    time of a training step on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_TRIM_THRESHOLD, _NEVER)
