"""`bucket_config`: which buckets a stage trains in, how likely, and how many clips at a time.

All forms of the reference are read: `{resolution: {num_frames: entry}}` with an entry

| entry | meaning |
|---|---|
| `(keep_prob, batch_size)` | the usual one |
| `(0.0, None)` | clips fall through to a smaller resolution |
| `((keep_prob, frames_prob), batch_size)` | also the chance that this length is used at all |
| `(keep_prob, (low, high))` | batch size to be found from low to high, both included |
| `(keep_prob, (high,))`, `(keep_prob, (low, high, step))` | from 1; only every step-th |
| `(low, high)`, two integers above 1 | as `(1.0, (low, high))` |

Source: Open-Sora 1.1 and 1.2 (`buckets/bucket.py`, `scripts/misc/search_bs.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from opensora.buckets.aspect import get_resolution
from opensora.core.errors import ConfigError

IMAGE_FRAMES = 1
IMAGE_FPS = 120.0  # what a model gets for single frames; Open-Sora 1.1

BucketConfig = Mapping[str, Mapping[Any, Any]]


class SearchRange(NamedTuple):
    """Batch sizes that a search may choose: low, low + step, ... up to high."""

    low: int
    high: int
    step: int = 1


@dataclass(frozen=True)
class BucketRule:
    """One entry of a bucket config.

    Attributes:
        resolution: name of a table of `aspect.py`, or an exact size such as "256x384".
        num_frames: T; 1 takes images, more takes videos.
        keep_prob: chance that a clip which fits stays; otherwise a smaller resolution is tried.
        frames_prob: chance that this length is used at all; otherwise the next shorter one is.
        batch_size: clips of one micro batch; None where nothing is ever kept or it is searched.
        search: batch sizes to choose from; None where `batch_size` is given.
    """

    resolution: str
    num_frames: int
    keep_prob: float
    frames_prob: float
    batch_size: int | None
    search: SearchRange | None = None

    @property
    def is_random(self) -> bool:
        """Whether a draw can decide."""
        return self.keep_prob not in (0.0, 1.0) or self.frames_prob not in (0.0, 1.0)

    @property
    def is_used(self) -> bool:
        """Whether a clip can ever be kept."""
        return self.keep_prob * self.frames_prob > 0

    def __str__(self) -> str:
        return f"bucket ({self.resolution!r}, {self.num_frames})"


def parse_bucket_config(config: BucketConfig, *, ranges: bool = False) -> list[BucketRule]:
    """Read a bucket config.

    Args:
        config: see the table above.
        ranges: accept batch sizes that are still to be searched.

    Returns:
        The rules in the order they are tried: most pixels first, then most frames.

    Raises:
        ConfigError: an entry that can not be meant, named by its place.
    """
    if not isinstance(config, Mapping) or not config:
        raise ConfigError(
            f"bucket_config is {repr(config) if config else 'empty'}; expected {{resolution:"
            " {num_frames: (keep_prob, batch_size)}}"
        )
    entries = {}
    for resolution, lengths in config.items():
        if not isinstance(lengths, Mapping) or not lengths:
            raise ConfigError(
                f"bucket_config: {resolution!r} has {lengths!r}; expected {{num_frames: (keep_prob,"
                " batch_size)}, or leave the resolution out"
            )
        for num_frames, entry in lengths.items():
            place = f"bucket_config: bucket ({resolution!r}, {num_frames})"
            try:
                get_resolution(resolution)
            except ConfigError as error:
                raise ConfigError(f"{place}: {error}") from error
            rule = _parse_rule(resolution, num_frames, entry, place)
            if rule.search is not None and not ranges:
                raise ConfigError(
                    f"{place}: the batch size is a range, {tuple(rule.search)[:2]}; run opensora"
                    " search-batch-size, which writes the config with the sizes it found"
                )
            # an override of the command line, whose keys are text, replaces the file's number
            entries[rule.resolution, rule.num_frames] = rule
    # among resolutions of equal area the first in the config is tried first
    order = {name: (-get_resolution(name).num_pixels, i) for i, name in enumerate(config)}
    return sorted(entries.values(), key=lambda rule: (order[rule.resolution], -rule.num_frames))


def _parse_rule(resolution: str, num_frames: Any, entry: Any, place: str) -> BucketRule:
    try:
        frames = int(num_frames)
        keep, size = entry
        if _is_count(keep) and keep > 1 and _is_count(size):  # (20, 40): a range and no chance
            keep, size = 1.0, (keep, size)
        keep_prob, frames_prob = keep if isinstance(keep, tuple | list) else (keep, 1.0)
        probabilities = (float(keep_prob), float(frames_prob))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{place}: expected num_frames: (keep_prob, batch_size) or num_frames:"
            f" ((keep_prob, frames_prob), batch_size), found {num_frames!r}: {entry!r}"
        ) from error
    if frames < 1:
        raise ConfigError(f"{place}: num_frames must be at least 1")
    if not all(0.0 <= p <= 1.0 for p in probabilities):
        raise ConfigError(f"{place}: a probability must lie in [0, 1], found {keep!r}")
    if frames == IMAGE_FRAMES and probabilities[1] != 1.0:
        raise ConfigError(f"{place}: images have one length, write a single keep probability")
    if size is None and probabilities[0] * probabilities[1] > 0:
        raise ConfigError(f"{place}: batch_size is missing")
    if isinstance(size, tuple | list):
        return BucketRule(resolution, frames, *probabilities, None, _parse_range(size, place))
    if size is not None and not _is_count(size):
        raise ConfigError(f"{place}: batch_size must be a positive integer, found {size!r}")
    return BucketRule(resolution, frames, *probabilities, size)


def _parse_range(size: Any, place: str) -> SearchRange:
    """Read (high,), (low, high) or (low, high, step)."""
    if not 1 <= len(size) <= 3 or not all(map(_is_count, size)):
        raise ConfigError(
            f"{place}: a range of batch sizes is (high,), (low, high) or (low, high, step) of"
            f" positive integers, found {size!r}"
        )
    low, high, step = (1, *size, 1) if len(size) == 1 else (*size, 1)[:3]
    if low > high:
        raise ConfigError(f"{place}: the range of batch sizes {size!r} is empty, {low} > {high}")
    return SearchRange(low, high, step)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
