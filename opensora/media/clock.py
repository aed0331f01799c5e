"""Arithmetic of frame times, int64 in ticks of a stream: restarts, jumps, rates."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

_UNEVEN = 0.05  # intervals that differ by more than this part of the usual one
_NO_TIME = -(2**63)
_FEWEST_PER_BREAK = 8  # frames: where times break more often than this they are none
_ROUNDING_S = Fraction(1, 1000)  # also finer ticks often hold times that once were milliseconds
_FEWEST_PULLED, _PULLED_TURNS = 8, 0.9  # steps, and share of turns, by which pulldown is told
_NTSC = Fraction(1000, 1001)


def continuous_times(times: np.ndarray, longest: int) -> tuple[np.ndarray | None, np.ndarray]:
    """Times without the restarts and jumps of a clock.

    Args:
        times: int64 [N] of the frames in the order of showing.
        longest: ticks that a frame may stand; a longer step is a jump.

    Returns:
        int64 [N] rising, or None where there are no times, and the int64 [B] numbers of the frames
        at which the clock restarted or jumped. The frame before such a one stands as long as most.
    """
    breaks = np.empty(0, dtype=np.int64)
    if _NO_TIME in times or not len(times):
        return None, breaks
    steps = np.diff(times)
    odd = (steps <= 0) | (steps > longest)
    if not odd.any():
        return times, breaks
    if odd.sum() * _FEWEST_PER_BREAK > len(times):
        return None, breaks
    steps = np.where(odd, int(np.median(steps[~odd])), steps)
    # two frames of one time are a fault of the clock, but none of the film
    breaks = np.flatnonzero(odd & (np.diff(times) != 0)) + 1
    return times[0] + np.concatenate([[0], np.cumsum(steps)]), breaks


def usual_step(times: np.ndarray) -> int:
    """Ticks that most frames stand, at least 1."""
    return max(1, int(np.median(np.diff(times)))) if len(times) > 1 else 1


def is_uneven(times: np.ndarray) -> bool:
    """Whether some frames stand longer than others, beyond what rounding to ticks explains."""
    if len(times) < 3:
        return False
    steps = np.diff(times)
    spread = int(np.ptp(steps))
    if spread <= _UNEVEN * float(np.median(steps)):
        return False
    line = times[0] + np.arange(len(times)) * (int(times[-1] - times[0]) / (len(times) - 1))
    return (spread > 1 or bool(np.abs(times - line).max() > 1)) and not has_pulldown(times)


def has_pulldown(times: np.ndarray) -> bool:
    """Whether frames stand 2 and 3 fields of a television in turn: they are evenly spaced film.

    DVDs note which field is shown again; edits may break the turns now and then.
    """
    steps = np.diff(times).astype(np.float64)
    if len(steps) < _FEWEST_PULLED:
        return False
    short = float(np.median(steps[steps <= steps.mean()]))
    is_long = steps > 1.25 * short
    wrong = np.abs(steps - short * np.where(is_long, 1.5, 1)) > _UNEVEN * short + 1
    turns = is_long[1:] != is_long[:-1]
    return not wrong.any() and float(turns.mean()) >= _PULLED_TURNS


def rate_of(times: np.ndarray | None, tick_s: Fraction, stated: Sequence[Fraction]) -> Fraction:
    """Frames a second.

    Args:
        times: int64 [N] rising; None where there are none.
        tick_s: seconds of a tick.
        stated: rates that the header claims; one that the times agree with is exact where times
            are rounded.

    Returns:
        (N - 1) / (last - first), up to the rounding of the two.
    """
    if times is None or len(times) < 2:
        return stated[0] if stated else Fraction(25)  # as FFmpeg assumes
    if len(times) % 2 == 0 and has_pulldown(times):
        times = times[:-1]  # as many long steps as short ones
    intervals, span = len(times) - 1, int(times[-1] - times[0]) * tick_s
    slack = min(max(tick_s, _ROUNDING_S), span / 2)
    slowest, fastest = intervals / (span + slack), intervals / (span - slack)
    average = intervals / span
    # rounded times leave room: then a rate of the header, or one that is in use, is meant
    likely = list(stated)
    if not is_uneven(times):
        whole = Fraction(round(average))
        likely += [whole, Fraction(round(average / _NTSC)) * _NTSC, Fraction(round(2 * average), 2)]
    for rate in likely:
        if slowest <= rate <= fastest:
            return rate
    return average
