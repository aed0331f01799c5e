"""Buckets: which (resolution, number of frames, aspect ratio) a clip is trained at.

Source: Open-Sora 1.1 and 1.2 (`datasets/bucket.py`), with two differences: a clip of exactly
num_frames * frame_interval frames fits, and a draw depends on (seed, epoch, id) alone, so that
neither the order of the table nor other clips change where a clip goes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from opensora.core.errors import ConfigError
from opensora.core.seed import derive_seed
from opensora.datasets.aspect import get_resolution, get_size
from opensora.tables.columns import ID

ENOUGH_PIXELS = 0.8  # a clip may have this share of a resolution's pixels; the rest is upscaled
IMAGE_FRAMES = 1

TOO_SMALL = "too_small"  # fewer pixels than the smallest resolution wants
TOO_SHORT = "too_short"  # fewer frames than the shortest bucket of a fitting resolution
NO_IMAGE_BUCKET = "no_image_bucket"
NO_VIDEO_BUCKET = "no_video_bucket"
NOT_KEPT = "not_kept"  # fits, but every keep probability said no this epoch


@dataclass(frozen=True, order=True)
class Bucket:
    """One cell: all samples in it have the same (T, H, W)."""

    resolution: str
    num_frames: int
    aspect_ratio: str

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return get_size(self.resolution, self.aspect_ratio)

    def __str__(self) -> str:
        return f"{self.resolution}|{self.num_frames}|{self.aspect_ratio}"

    @classmethod
    def parse(cls, text: str) -> "Bucket":
        """Read what `str(bucket)` wrote."""
        resolution, num_frames, aspect_ratio = text.split("|")
        return cls(resolution, int(num_frames), aspect_ratio)


@dataclass(frozen=True)
class BucketRule:
    """One entry of a bucket config.

    Attributes:
        resolution: name of a table of `aspect.py`.
        num_frames: T; 1 takes images, more takes videos.
        keep_prob: chance that a clip which fits stays; otherwise a smaller resolution is tried.
        frames_prob: chance that this length is used at all; otherwise the next shorter one is.
        batch_size: clips of one micro batch; None where nothing is ever kept.
    """

    resolution: str
    num_frames: int
    keep_prob: float
    frames_prob: float
    batch_size: int | None

    @property
    def is_random(self) -> bool:
        """Whether a draw can decide."""
        return self.keep_prob not in (0.0, 1.0) or self.frames_prob not in (0.0, 1.0)


def parse_bucket_config(config: Mapping[str, Mapping[Any, Any]]) -> list[BucketRule]:
    """Read `{resolution: {num_frames: (keep_prob, batch_size)}}`.

    `keep_prob` is a number or a pair (keep_prob, frames_prob).

    Returns:
        The rules in the order they are tried: most pixels first, then most frames.

    Raises:
        ConfigError: an entry that can not be meant, named by its place.
    """
    if not config:
        raise ConfigError("bucket_config is empty; expected {resolution: {num_frames: (p, bs)}}")
    entries = {}
    for resolution, lengths in config.items():
        for num_frames, entry in lengths.items():
            place = f"bucket_config: bucket ({resolution!r}, {num_frames})"
            try:
                get_resolution(resolution)
            except ConfigError as error:
                raise ConfigError(f"{place}: {error}") from error
            rule = _parse_rule(resolution, num_frames, entry, place)
            # an override of the command line, whose keys are text, replaces the file's number
            entries[rule.resolution, rule.num_frames] = rule
    # among resolutions of equal area the first in the config is tried first
    order = {name: (-get_resolution(name).num_pixels, i) for i, name in enumerate(config)}
    return sorted(entries.values(), key=lambda rule: (order[rule.resolution], -rule.num_frames))


def _parse_rule(resolution: str, num_frames: Any, entry: Any, place: str) -> BucketRule:
    try:
        frames = int(num_frames)
        keep, batch_size = entry
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
    if batch_size is None and probabilities[0] * probabilities[1] > 0:
        raise ConfigError(f"{place}: batch_size is missing")
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ConfigError(f"{place}: batch_size must be a positive integer, found {batch_size!r}")
    return BucketRule(resolution, frames, *probabilities, batch_size)


def assign_buckets(
    clips: pd.DataFrame,
    bucket_config: Mapping[str, Mapping[Any, Any]],
    *,
    seed: int,
    epoch: int = 0,
    frame_interval: int = 1,
) -> pd.DataFrame:
    """Give every clip its bucket for one epoch.

    Resolutions are tried from most to fewest pixels; a clip needs 0.8 of a resolution's pixels.
    An image takes the one-frame bucket, a video the longest one it fills (never one frame). If
    the draw of that bucket fails, the next smaller resolution is tried, not a shorter length.

    Args:
        clips: id, num_frames, height, width.
        bucket_config: see `parse_bucket_config`.
        seed: with `epoch` and the id the only source of chance.
        epoch: epoch index.
        frame_interval: source frames per used frame.

    Returns:
        An ASSIGNMENT table, one row per clip in the same order; `reason` is "" where placed.
    """
    rules = parse_bucket_config(bucket_config)
    frames = clips["num_frames"].to_numpy(np.int64)  # [N]
    height = clips["height"].to_numpy(np.int64)
    width = clips["width"].to_numpy(np.int64)
    is_image = frames == IMAGE_FRAMES
    draws = _Draws(clips[ID], seed, epoch)

    chosen = np.full(len(clips), -1)  # index of the rule
    large_enough, fits_any = np.zeros((2, len(clips)), dtype=bool)
    for resolution in dict.fromkeys(rule.resolution for rule in rules):
        wanted = ENOUGH_PIXELS * get_resolution(resolution).num_pixels
        searching = (chosen < 0) & (height * width >= wanted)
        large_enough |= searching
        for index, rule in enumerate(rules):
            if rule.resolution != resolution:
                continue
            if rule.num_frames == IMAGE_FRAMES:
                fits = searching & is_image
            else:
                fits = searching & ~is_image & (frames >= rule.num_frames * frame_interval)
            fits_any |= fits
            fits &= draws.below(rule.frames_prob, rule, "frames")
            searching &= ~fits
            chosen[fits & draws.below(rule.keep_prob, rule, "keep")] = index
    reasons = _reasons(chosen, large_enough, fits_any, is_image, rules)
    return _assignment(clips[ID], chosen, height / width, reasons, rules)


class _Draws:
    """Uniform numbers in [0, 1), one per clip and question, from (seed, epoch, id) alone."""

    def __init__(self, ids: pd.Series, seed: int, epoch: int) -> None:
        self.parts = (seed, "bucket", epoch)
        self.hashes = pd.util.hash_array(ids.to_numpy(dtype=object), categorize=False)  # uint64 [N]

    def below(self, probability: float, rule: BucketRule, question: str) -> np.ndarray:
        """Return bool [N], each True with this probability."""
        if probability in (0.0, 1.0):
            return np.full(len(self.hashes), bool(probability))
        key = derive_seed(*self.parts, rule.resolution, rule.num_frames, question)
        uniform = (_mix(self.hashes ^ np.uint64(key)) >> np.uint64(11)) * 2.0**-53
        return uniform < probability


def _mix(values: np.ndarray) -> np.ndarray:
    """Finalizer of splitmix64 (Steele et al. 2014): every input bit moves every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _reasons(
    chosen: np.ndarray,
    large_enough: np.ndarray,
    fits_any: np.ndarray,
    is_image: np.ndarray,
    rules: list[BucketRule],
) -> np.ndarray:
    """Say for each clip why it has no bucket ("" where it has one)."""
    has_videos = any(rule.num_frames > IMAGE_FRAMES for rule in rules)
    no_length = np.where(is_image, NO_IMAGE_BUCKET, TOO_SHORT if has_videos else NO_VIDEO_BUCKET)
    unplaced = np.where(fits_any, NOT_KEPT, np.where(large_enough, no_length, TOO_SMALL))
    return np.where(chosen >= 0, "", unplaced)


def _assignment(
    ids: pd.Series,
    chosen: np.ndarray,
    ratio: np.ndarray,
    reasons: np.ndarray,
    rules: list[BucketRule],
) -> pd.DataFrame:
    resolutions = np.full(len(chosen), "", dtype=object)
    keys = np.full(len(chosen), "", dtype=object)
    lengths, heights, widths = np.zeros((3, len(chosen)), dtype=np.int64)
    for resolution in dict.fromkeys(rule.resolution for rule in rules):
        mine = np.isin(chosen, [i for i, r in enumerate(rules) if r.resolution == resolution])
        table = get_resolution(resolution)
        # argmin takes the first of equals: table order decides, as in `closest_ratio`
        distance = np.abs(np.array(table.ratios) - ratio[mine, None])  # [n, ratios]
        nearest = distance.argmin(axis=1)
        sizes = np.array(list(table.sizes.values()))  # [ratios, 2]
        resolutions[mine] = resolution
        keys[mine] = np.array(list(table.sizes), dtype=object)[nearest]
        heights[mine], widths[mine] = sizes[nearest].T
    placed = chosen >= 0
    lengths[placed] = np.array([rule.num_frames for rule in rules])[chosen[placed]]
    return pd.DataFrame(
        {
            ID: ids.to_numpy(dtype=object),
            "bucket_resolution": resolutions,
            "bucket_frames": lengths,
            "bucket_aspect_ratio": keys,
            "bucket_height": heights,
            "bucket_width": widths,
            "reason": reasons.astype(object),
        }
    )
