"""A bucket_config from the sizes, lengths and shapes that a data set has.

1. Resolutions: the largest with no more pixels than the smallest, the median and the largest tenth
   of the clips, so that hardly anything is enlarged; and the smallest of the config compared with.
2. Lengths: those asked for that any clip fills; one of which not even one sample fits the memory
   gets (0.0, None), and its clips go on to a smaller resolution.
3. Batch sizes: as many samples as fit the memory, or fewer, so that what is left over when the
   clips of a shape are cut into batches stays below 2 % of the bucket.
4. Keep probabilities: 1 for the smallest resolution, and for all others the largest in hundredths
   with which an epoch has no more tokens a sample than the config compared with. Where 0 is not
   enough, the same for the chance that a length above the shortest is used.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from opensora.buckets.aspect import RESOLUTIONS, Resolution, get_resolution
from opensora.buckets.assignment import BucketLookup
from opensora.buckets.bucket import Bucket, TokenGrid
from opensora.buckets.bucket_config import IMAGE_FRAMES, BucketConfig, parse_bucket_config
from opensora.core.errors import ConfigError
from opensora.plans.micro_batches import count_cells, trained_cells
from opensora.plans.stage_plan import EpochAssignments
from opensora.plans.summary import cut_away, describe_buckets

EPOCHS = 10  # that a config is measured over
LEFT_OVER = 0.02  # share of a bucket's clips that may fill no batch
STEPS = [step / 100 for step in range(100, -1, -1)]  # probabilities that are tried
_QUANTILES = (0.01, 0.5, 0.9)  # of the clips' pixels


@dataclass(frozen=True)
class Measured:
    """What a bucket_config makes of clips, mean of `EPOCHS` epochs.

    Attributes:
        rows: by "resolution|frames", large ones first: share (of all clips, trained in it), crop
            (share of pixels cut away), tokens (of a sample), batch_size.
        kept: share of all clips that are trained in an epoch.
        tokens: mean of a trained sample.
    """

    rows: dict[str, dict[str, float]]
    kept: float
    tokens: float


def measure(
    clips: pd.DataFrame, bucket_config: BucketConfig, grid: TokenGrid, frame_interval: int = 1
) -> Measured:
    """Assign the clips for some epochs and cut them into full batches, as training would.

    Args:
        clips: id, num_frames, height, width.
        bucket_config: see `parse_bucket_config`.
        grid: how many tokens a sample of a bucket is.
        frame_interval: source frames per used frame.
    """
    rules = parse_bucket_config(bucket_config)
    settings = {"bucket_config": bucket_config, "frame_interval": frame_interval}
    epochs = EpochAssignments(clips, {**settings, "epochs": EPOCHS})
    sums = {
        f"{rule.resolution}|{rule.num_frames}": {
            **{"trained": 0.0, "tokens": 0.0, "assigned": 0.0, "cut": 0.0},
            "batch_size": rule.batch_size,
        }
        for rule in rules
        if rule.batch_size  # one that keeps nothing may still take in what fills no batch
    }
    for epoch in range(len(epochs)):
        assignment = epochs[epoch]
        cells = count_cells(assignment)
        targets = trained_cells(cells, rules, drop_last=True)
        cut = cut_away(clips, assignment, targets)
        for name, row in describe_buckets(cells, targets, rules, grid, cut=cut).items():
            trained = row["batches"] * row["batch_size"]
            place = sums[name.rpartition("|")[0]]
            place["trained"] += trained
            place["tokens"] += trained * row["tokens_per_sample"]
            place["assigned"] += row["samples"]
            place["cut"] += cut[Bucket.parse(name)]
    everything = max(len(clips) * len(epochs), 1)
    trained = sum(row["trained"] for row in sums.values())
    rows = {
        name: {
            "share": row["trained"] / everything,
            "crop": row["cut"] / max(row["assigned"], 1),
            "tokens": row["tokens"] / max(row["trained"], 1),
            "batch_size": row["batch_size"],
        }
        for name, row in sums.items()
    }
    tokens = sum(row["tokens"] for row in sums.values()) / max(trained, 1)
    return Measured(rows, trained / everything, tokens)


@dataclass(frozen=True)
class Wishes:
    """What a proposal has to keep to.

    Attributes:
        lengths: numbers of frames.
        token_budget: tokens of a micro batch that fit the memory.
        grid: how many tokens a sample of a bucket is.
        frame_interval: source frames per used frame.
        tokens: mean of a sample of an epoch, at most; None is no limit.
        smallest: resolution that is there in any case: that of the config compared with.
    """

    lengths: Sequence[int]
    token_budget: int
    grid: TokenGrid
    frame_interval: int = 1
    tokens: float | None = None
    smallest: str | None = None


def propose_buckets(clips: pd.DataFrame, wishes: Wishes) -> dict[str, dict[int, Any]]:
    """Propose a bucket_config; see the module.

    Raises:
        ConfigError: no clip is long enough, nothing fits the memory, or tokens can not be kept.
    """
    images = clips["num_frames"] == IMAGE_FRAMES
    used = images | (clips["num_frames"] >= min(wishes.lengths) * wishes.frame_interval)
    if not used.any():
        raise ConfigError(
            f"--num-frames: every one of {len(clips)} clips is shorter than"
            f" {min(wishes.lengths) * wishes.frame_interval} frames; give a shorter length"
        )
    tables = _resolutions(clips[used], wishes.smallest)
    longest = int(clips["num_frames"].max())
    filled = [n for n in sorted(set(wishes.lengths)) if n * wishes.frame_interval <= longest]
    lengths = [n for n in filled if _fitting(tables[-1], n, wishes)]
    if filled and not lengths:
        raise ConfigError(
            f"not one sample of {tables[-1].name} and {min(wishes.lengths)} frames fits the memory"
            f" ({wishes.token_budget} tokens); give more, or shorter lengths"
        )
    if images.any():
        lengths = [IMAGE_FRAMES, *(n for n in lengths if n != IMAGE_FRAMES)]
    chances = [(keep, 1.0) for keep in STEPS] + [(0.0, longer) for longer in STEPS[1:]]

    def config(chance: tuple[float, float]) -> dict[str, dict[int, Any]]:
        return _config(clips, tables, lengths, wishes, *chance)

    def is_cheap(chance: tuple[float, float]) -> bool:
        found = measure(clips, config(chance), wishes.grid, wishes.frame_interval)
        return wishes.tokens is None or found.tokens <= wishes.tokens

    place = bisect.bisect_left(
        chances, True, key=is_cheap
    )  # tokens fall from the first to the last
    if place < len(chances):
        return config(chances[place])
    raise ConfigError(
        f"--num-frames {lengths}: even {tables[-1].name} alone has more than"
        f" {wishes.tokens:,.0f} tokens a sample; add a shorter length"
    )


def _resolutions(clips: pd.DataFrame, smallest: str | None) -> list[Resolution]:
    """The ladder, most pixels first."""
    pixels = clips["height"] * clips["width"]
    tables = sorted(RESOLUTIONS.values(), key=lambda table: table.num_pixels)
    chosen = {smallest} if smallest else set()
    for share in _QUANTILES:
        size = float(pixels.quantile(share, interpolation="lower"))
        filled = [table.name for table in tables if table.num_pixels <= size]
        chosen |= set(filled[-1:])
    if not chosen:
        raise ConfigError(f"every clip has fewer pixels than {tables[0].name}")
    return sorted(map(get_resolution, chosen), key=lambda table: -table.num_pixels)


def _fitting(table: Resolution, num_frames: int, wishes: Wishes) -> int:
    """Samples of the largest shape that fit the memory."""
    buckets = (Bucket(table.name, num_frames, key) for key in table.sizes)
    return wishes.token_budget // max(wishes.grid.tokens(bucket) for bucket in buckets)


def _config(
    clips: pd.DataFrame,
    tables: Sequence[Resolution],
    lengths: Sequence[int],
    wishes: Wishes,
    keep: float,
    longer: float,
) -> dict[str, dict[int, Any]]:
    """Fill the ladder: chances as given, batch sizes by memory and by the clips of each shape."""
    shortest = min((n for n in lengths if n != IMAGE_FRAMES), default=IMAGE_FRAMES)
    config: dict[str, dict[int, Any]] = {}
    for table in tables:
        chance = 1.0 if table is tables[-1] else keep
        for length in lengths:
            fits = _fitting(table, length, wishes)
            is_longer = length > shortest and longer < 1
            chances: Any = (chance, longer) if is_longer else chance
            entry = (chances, fits) if fits and chance else (0.0, None)
            config.setdefault(table.name, {})[length] = entry
    lookup = BucketLookup(parse_bucket_config(config), wishes.frame_interval)
    frames, high, wide = (clips[name].to_numpy() for name in ("num_frames", "height", "width"))
    counts: dict[tuple[str, int], list[float]] = {}
    for (name, length, _), count in lookup.expected_clips(frames, high, wide, epochs=1).items():
        counts.setdefault((name, length), []).append(count)
    for name, entries in config.items():
        for length, (chances, fits) in entries.items():
            if fits:
                entries[length] = (chances, _batch_size(counts.get((name, length), []), fits))
    return {name: part for name, part in config.items() if any(n for _, n in part.values())}


def _batch_size(counts: Sequence[float], most: int) -> int:
    """The largest batch that leaves few of so many clips of each shape over."""
    for size in range(most, 1, -1):
        left = sum(min(count, (size - 1) / 2) if count >= size else count for count in counts)
        if left <= LEFT_OVER * math.fsum(counts):
            return size
    return 1


def snippet(config: BucketConfig) -> str:
    """The config as Python text to paste."""
    lines = [
        f"    {name!r}: {dict(entries)!r},".replace("'", '"') for name, entries in config.items()
    ]
    return "\n".join(["bucket_config = {", *lines, "}"]) + "\n"
