"""Which windows of a long clip are kept as latents, and which of them an epoch sees."""

from functools import lru_cache
from itertools import count

from opensora.core.seed import derive_seed


@lru_cache(maxsize=1 << 16)
def window_starts(clip_frames: int, span: int, windows: int) -> tuple[int, ...]:
    """First frames of the windows of a clip: its first frames, its last, then ever finer between.

    More windows begin with the same ones, so that what is encoded already stays.

    Args:
        clip_frames: frames of the clip.
        span: frames from the first to the last of a window, both included.
        windows: how many are wanted; a short clip has fewer.

    Returns:
        Different frames; the first is 0.
    """
    last = clip_frames - span
    found = dict.fromkeys((0, last) if windows > 1 and last > 0 else (0,))
    for number in count(1):
        if len(found) >= min(windows, last + 1):
            break
        found.setdefault(round(_van_der_corput(number) * last))
    return tuple(found)


def draw_window(seed: int, epoch: int, clip: str) -> int:
    """A large number for a clip in an epoch; its remainder by the number of windows is one."""
    return derive_seed(seed, "window", epoch, clip)


def _van_der_corput(number: int) -> float:
    """The binary digits of a number behind the point, mirrored: 1/2, 1/4, 3/4, 1/8, ..."""
    digits = f"{number:b}"[::-1]
    return int(digits, 2) / 2 ** len(digits)
