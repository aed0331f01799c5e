"""Find the batch size of every bucket: fits memory, and its step takes as long as the others'.

The search only asks "how long does a step of n samples take, or does it not fit?"; who answers
is `step_timer.py`, or a function in a test. Time and memory are taken to grow with n.

Source: Open-Sora 1.1 (`scripts/misc/search_bs.py`): binary search against the step time of a base
bucket.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from opensora.buckets.bucket_config import BucketConfig, BucketRule, SearchRange
from opensora.core.errors import ConfigError
from opensora.core.terminal import align

log = logging.getLogger(__name__)

Measure = Callable[[int], float | None]  # samples -> seconds of a step, None where out of memory
Key = tuple[str, int]  # (resolution, number of frames)


class FoundBatchSize(NamedTuple):
    """A batch size and the seconds of its step."""

    batch_size: int
    seconds: float


def largest_fitting(measure: Measure, sizes: Sequence[int]) -> FoundBatchSize | None:
    """Return the largest batch size that fits memory, or None where not even the first does."""
    return _last(measure, sizes, limit=None)


def best_balanced(measure: Measure, sizes: Sequence[int], target: float) -> FoundBatchSize | None:
    """Return the batch size whose step comes nearest to a time, among those that fit.

    Args:
        measure: seconds of a step, None where it does not fit.
        sizes: batch sizes to choose from, ascending.
        target: seconds wanted.
    """
    measure = _remembering(measure)
    below = _last(measure, sizes, limit=target)
    if below is None:  # even the smallest takes longer, or does not fit
        first = measure(sizes[0])
        return None if first is None else FoundBatchSize(sizes[0], first)
    after = sizes.index(below.batch_size) + 1
    above = measure(sizes[after]) if after < len(sizes) else None
    if above is not None and above - target < target - below.seconds:
        return FoundBatchSize(sizes[after], above)
    return below


def _last(measure: Measure, sizes: Sequence[int], limit: float | None) -> FoundBatchSize | None:
    """Return the last size that fits and takes no longer than `limit`; doubling, then halving."""
    best: FoundBatchSize | None = None

    def fits(index: int) -> bool:
        nonlocal best
        seconds = measure(sizes[index])
        if seconds is None or (limit is not None and seconds > limit):
            return False
        best = FoundBatchSize(sizes[index], seconds)
        return True

    low, high = -1, 0  # sizes[low] fits, sizes[high] is asked next
    while high < len(sizes) and fits(high):
        low, high = high, max(2 * high, 1)
    high = min(high, len(sizes))
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return best


def _remembering(measure: Measure) -> Measure:
    known: dict[int, float | None] = {}

    def ask(batch_size: int) -> float | None:
        if batch_size not in known:
            known[batch_size] = measure(batch_size)
        return known[batch_size]

    return ask


def search_all(
    rules: Sequence[BucketRule],
    measure: Callable[[BucketRule, int], float | None],
    *,
    base: BucketRule,
    largest: int,
    held: Mapping[Key, int] | None = None,
) -> dict[Key, FoundBatchSize | None]:
    """Search the batch size of every bucket that is used.

    The base bucket takes its batch size from the config, or the largest that fits; all others
    the one whose step takes about as long.

    Args:
        rules: parsed bucket config, ranges allowed.
        measure: seconds of a step of a bucket and a batch size, None where it does not fit.
        base: the bucket that sets the time.
        largest: end of the search where the config gives no range.
        held: clips of each bucket, which a batch can not exceed; buckets without are left out.

    Returns:
        What was found; None for a bucket of which not even the smallest batch fits.

    Raises:
        ConfigError: the base bucket itself does not fit.
    """

    def sizes_of(rule: BucketRule) -> Sequence[int]:
        search = rule.search or SearchRange(1, largest)
        clips = search.high if held is None else held.get((rule.resolution, rule.num_frames), 0)
        return range(search.low, max(min(search.high, clips), search.low) + 1, search.step)

    wanted = sizes_of(base) if base.batch_size is None else [base.batch_size]
    first = largest_fitting(partial(measure, base), wanted)
    if first is None:
        raise ConfigError(
            f"base {base}: a step of {wanted[0]} samples does not fit the memory; choose a smaller"
            " base bucket or batch size, or set grad_checkpoint = True"
        )
    log.info("search base=%s batch_size=%d seconds=%.3f", base, *first)
    found: dict[Key, FoundBatchSize | None] = {(base.resolution, base.num_frames): first}
    for rule in rules:
        key = (rule.resolution, rule.num_frames)
        if rule is base or not rule.is_used or (held is not None and not held.get(key)):
            continue
        found[key] = best = best_balanced(partial(measure, rule), sizes_of(rule), first.seconds)
        if best is None:
            log.warning(
                "search %s: a step of %d samples does not fit the memory; its clips will fall"
                " through to a smaller resolution",
                *(rule, sizes_of(rule)[0]),
            )
        else:
            log.info("search %s batch_size=%d seconds=%.3f", rule, *best)
    return found


def choose_base(
    rules: Sequence[BucketRule], asked: str | None, cost: Callable[[BucketRule], float]
) -> BucketRule:
    """Return the base bucket: the one asked for as "240p:16", or the one of the costliest samples.

    Raises:
        ConfigError: it is not in the config, or never used.
    """
    used = [rule for rule in rules if rule.is_used]
    if not used:
        raise ConfigError("bucket_config: every keep_prob is 0, there is nothing to search")
    if asked is None:
        return max(used, key=cost)
    for rule in used:
        if f"{rule.resolution}:{rule.num_frames}" == asked:
            return rule
    known = ", ".join(f"{rule.resolution}:{rule.num_frames}" for rule in used)
    raise ConfigError(f"--base-bucket {asked!r}: expected one of {known}")


def fill_in(
    config: BucketConfig, rules: Sequence[BucketRule], found: Mapping[Key, FoundBatchSize | None]
) -> dict[str, dict[int, Any]]:
    """Return the bucket config with the batch sizes that were found.

    A bucket that does not fit gets `(0.0, None)`; one that was left out keeps its batch size, or
    gets the smallest of its range.
    """
    entries = {(rule.resolution, rule.num_frames): rule for rule in rules}
    filled: dict[str, dict[int, Any]] = {}
    for resolution, lengths in config.items():
        row = filled.setdefault(str(resolution), {})
        for num_frames in map(int, lengths):
            rule = entries[str(resolution), num_frames]
            chance: Any = rule.keep_prob
            if rule.frames_prob != 1.0:
                chance = (rule.keep_prob, rule.frames_prob)
            size = rule.search.low if rule.search else rule.batch_size
            best = found.get(
                (rule.resolution, num_frames), FoundBatchSize(size, 0.0) if size else None
            )
            row[num_frames] = (chance, best.batch_size) if best else (0.0, None)
    return filled


def found_table(found: Mapping[Key, FoundBatchSize | None], base: BucketRule) -> str:
    """Lay out what was found for a terminal."""
    target = found[base.resolution, base.num_frames]
    assert target is not None  # the search ends with an error otherwise
    rows = []
    for (resolution, num_frames), best in found.items():
        name = f"{resolution}|{num_frames}"
        if best is None:
            rows.append((name, "none fits", "", "", ""))
            continue
        share, rate = best.seconds / target.seconds, best.batch_size / best.seconds
        rows.append(
            (name, f"{best.batch_size}", f"{best.seconds:.3f}", f"{share:.2f}", f"{rate:.1f}")
        )
    header = ["bucket", "batch size", "seconds", "of the base", "samples/s"]
    return align(header, rows) + "\n"
