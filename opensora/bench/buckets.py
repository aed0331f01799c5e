"""How fast clips get their buckets, beside a loop over rows that follows the same rules."""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from opensora.bench.measure import Stopwatch, machine, peak_memory_bytes
from opensora.buckets.aspect import closest_ratio, get_resolution, get_size
from opensora.buckets.assignment import DRAW_BITS, BucketLookup
from opensora.buckets.bucket import assign_buckets
from opensora.buckets.bucket_config import (
    IMAGE_FRAMES,
    BucketConfig,
    BucketRule,
    parse_bucket_config,
)
from opensora.core.errors import OpenSoraError
from opensora.core.seed import derive_seed, draw, hash_ids
from opensora.core.terminal import facts
from opensora.tables.columns import ID

_WORD = 2**64 - 1
_TICK_S = 0.01  # the system counts processor time in hundredths
# Open-Sora 1.1, stage 2: {resolution: {num_frames: (keep probability, clips per micro batch)}}
STAGE_2: dict[str, dict[int, tuple[float, int | None]]] = {
    "144p": {1: (1.0, 48), 16: (1.0, 17), 32: (1.0, 9), 64: (1.0, 4), 128: (1.0, 1)},
    "256": {1: (0.8, 254), 16: (0.5, 17), 32: (0.5, 9), 64: (0.5, 4), 128: (0.5, 1)},
    "240p": {1: (0.1, 20), 16: (0.9, 17), 32: (0.8, 9), 64: (0.8, 4), 128: (0.8, 2)},
    "512": {1: (0.5, 86), 16: (0.2, 4), 32: (0.2, 2), 64: (0.2, 1), 128: (0.0, None)},
    "480p": {1: (0.4, 54), 16: (0.4, 4), 32: (0.0, None)},
    "720p": {1: (0.1, 20), 16: (0.1, 2), 32: (0.0, None)},
    "1024": {1: (0.3, 20)},
    "1080p": {1: (0.4, 8)},
}
FRAME_INTERVAL = 3
# (height, width, share): what web video comes in, and two formats of images
_SIZES = (
    *((240, 426, 0.04), (360, 640, 0.20), (480, 854, 0.12), (720, 1280, 0.26)),
    *((1080, 1920, 0.20), (2160, 3840, 0.02), (1280, 720, 0.05), (1920, 1080, 0.04)),
    *((1024, 1024, 0.04), (512, 512, 0.03)),
)
_IMAGES = 0.2  # share of still images
_MEDIAN_FRAMES, _SPREAD = 120.0, 0.8  # lengths are log-normal: most clips have 2 to 10 seconds
_CROPPED = 0.3  # share of clips whose black bars were cut off: any aspect ratio


def bench_buckets(
    clips: pd.DataFrame,
    bucket_config: BucketConfig,
    *,
    frame_interval: int,
    sample: int,
    repeats: int,
    seed: int = 0,
) -> dict[str, Any]:
    """Time `assign_buckets` on a table, and a loop over the rows of a part of it.

    Args:
        clips: id, num_frames, height, width.
        bucket_config: where they go.
        frame_interval: source frames per used frame.
        sample: rows for the loop.
        repeats: timings, of which the median counts.
        seed: of the draws.

    Returns:
        rows, seconds and rows_per_s (median), best_rows_per_s, rows_per_cpu_s, loop_rows_per_s,
        ratio, stages (seconds of hash, draw and choose), memory_bytes (peak of the process before
        the loop), placed (share of the rows), machine.

    Raises:
        OpenSoraError: the loop came to another result.
    """
    times, cpu = [], []
    for _ in range(repeats):
        with Stopwatch() as watch:
            found = assign_buckets(clips, bucket_config, seed=seed, frame_interval=frame_interval)
        times.append(watch.seconds)
        cpu.append(watch.cpu_seconds)
    stages = _stages(clips, bucket_config, frame_interval, seed)
    memory = peak_memory_bytes()
    rng = np.random.default_rng(derive_seed(seed, "bench buckets"))
    rows = np.sort(rng.choice(len(clips), size=min(sample, len(clips)), replace=False))
    part = clips.iloc[rows]
    with Stopwatch() as watch:
        looped = loop_over_rows(part, bucket_config, seed=seed, frame_interval=frame_interval)
    _require_equal(found.iloc[rows], looped)
    seconds, loop_rate = statistics.median(times), len(part) / watch.seconds
    return {
        "rows": len(clips),
        "seconds": seconds,
        "rows_per_s": len(clips) / seconds,
        "best_rows_per_s": len(clips) / min(times),
        "rows_per_cpu_s": len(clips) / max(statistics.median(cpu), _TICK_S),
        "loop_rows": len(part),
        "loop_rows_per_s": loop_rate,
        "ratio": len(clips) / seconds / loop_rate,
        "stages": stages,
        "memory_bytes": memory,
        "placed": float((found["bucket_frames"] > 0).mean()),
        "machine": machine(),
    }


def _stages(
    clips: pd.DataFrame, bucket_config: BucketConfig, frame_interval: int, seed: int
) -> dict[str, float]:
    """Seconds of the parts of an assignment, one run each."""
    stages = {}
    with Stopwatch() as watch:
        table = BucketLookup(parse_bucket_config(bucket_config), frame_interval)
    stages["compile the rules"] = watch.seconds
    with Stopwatch() as watch:
        hashes = hash_ids(clips[ID])
    stages["hash the ids"] = watch.seconds
    with Stopwatch() as watch:
        draws = draw(hashes, seed, "bucket", 0, bits=DRAW_BITS)
    stages["draw"] = watch.seconds
    frames, height, width = (clips[name].to_numpy() for name in ("num_frames", "height", "width"))
    with Stopwatch() as watch:
        table.choose(frames, height, width, draws)
    stages["choose"] = watch.seconds
    return stages


def loop_over_rows(
    clips: pd.DataFrame, bucket_config: BucketConfig, *, seed: int, frame_interval: int
) -> list[tuple[str, int, str, int, int]]:
    """Follow the rules of `assign_buckets` one clip after the other, in plain Python.

    Returns:
        Per clip resolution, frames, aspect ratio, height and width; "", 0, "", 0, 0 without one.
    """
    rules = parse_bucket_config(bucket_config)
    key = derive_seed(seed, "bucket", 0)
    found = []
    for name, frames, height, width in clips[[ID, "num_frames", "height", "width"]].itertuples(
        index=False
    ):
        uniform = (_mix(_hash(name.encode()) ^ key) >> (64 - DRAW_BITS)) / 2**DRAW_BITS
        rule = _find_rule(rules, frames, height * width, uniform, frame_interval)
        if rule is None:
            found.append(("", 0, "", 0, 0))
            continue
        ratio = closest_ratio(rule.resolution, height, width)
        size = get_size(rule.resolution, ratio)
        found.append((rule.resolution, rule.num_frames, ratio, *size))
    return found


def _find_rule(
    rules: Sequence[BucketRule], frames: int, pixels: int, uniform: float, interval: int
) -> BucketRule | None:
    """Try one rule after the other; the clip stays where the sum of chances passes `uniform`."""
    total, meant, leaving, resolution = 0.0, 1.0, 0.0, ""
    for rule in rules:
        if rule.resolution != resolution:  # on to a smaller one with all who did not stay
            resolution, meant, leaving = rule.resolution, meant + leaving, 0.0
        table = get_resolution(rule.resolution)
        if pixels < table.min_pixels:
            continue
        if rule.num_frames == IMAGE_FRAMES:
            fits = frames == IMAGE_FRAMES or table.is_fixed
        else:
            fits = frames != IMAGE_FRAMES and frames >= rule.num_frames * interval
        if not fits:
            continue
        here = meant * rule.frames_prob
        total += here * rule.keep_prob
        if here * rule.keep_prob > 0 and uniform < total:
            return rule
        meant -= here
        leaving += here * (1 - rule.keep_prob)
    return None


def _mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _WORD
    return value ^ (value >> 31)


def _hash(text: bytes) -> int:
    value = 0x9E3779B97F4A7C15
    for start in range(0, len(text), 8):
        value = _mix(value ^ int.from_bytes(text[start : start + 8], "little"))
    return _mix(value ^ len(text))


def _require_equal(found: pd.DataFrame, looped: Sequence[tuple[Any, ...]]) -> None:
    names = ("resolution", "frames", "aspect_ratio", "height", "width")
    columns = [found[f"bucket_{name}"].tolist() for name in names]
    for row, (ours, theirs) in enumerate(zip(zip(*columns, strict=True), looped, strict=True)):
        if ours != theirs:
            raise OpenSoraError(
                f"bench buckets: the loop puts clip {found[ID].iloc[row]!r} into {theirs} and"
                f" assign_buckets into {ours}; one of them is wrong"
            )


def buckets_report(result: dict[str, Any]) -> str:
    """Lay the figures out for a terminal."""
    rows = [
        ("machine", result["machine"]),
        ("rows", f"{result['rows']:,}, {100 * result['placed']:.1f} % of them get a bucket"),
        (
            "assign_buckets",
            f"{result['rows_per_s'] / 1e6:.2f} million rows/s (median), best"
            f" {result['best_rows_per_s'] / 1e6:.2f}, per processor second"
            f" {result['rows_per_cpu_s'] / 1e6:.2f}",
        ),
        *((f"  {name}", f"{seconds:.3f} s") for name, seconds in result["stages"].items()),
        ("loop over rows", f"{result['loop_rows_per_s']:,.0f} rows/s on {result['loop_rows']:,}"),
        ("ratio", f"{result['ratio']:,.0f} times, with equal results on those rows"),
        ("peak memory", f"{result['memory_bytes'] / 1e9:.2f} GB"),
    ]
    return facts(rows) + "\n"


def synthetic_manifest(rows: int, *, seed: int = 0) -> pd.DataFrame:
    """Make clips as a crawl of the web would give them.

    Returns:
        id, num_frames, height, width; equal arguments give equal tables.
    """
    rng = np.random.default_rng(derive_seed(seed, "synthetic manifest"))
    shares = np.array([share for *_, share in _SIZES])
    kind = rng.choice(len(_SIZES), size=rows, p=shares / shares.sum()).astype(np.int8)
    height = np.array([size[0] for size in _SIZES], dtype=np.int32)[kind]
    width = np.array([size[1] for size in _SIZES], dtype=np.int32)[kind]
    cut = np.where(rng.random(rows, dtype=np.float32) < _CROPPED, rng.random(rows), 0.0)
    height = (height * (1 - 0.4 * cut)).astype(np.int32)
    frames = np.exp(rng.normal(np.log(_MEDIAN_FRAMES), _SPREAD, rows)).clip(2, 5000)
    frames[rng.random(rows, dtype=np.float32) < _IMAGES] = 1
    numbers = pc.utf8_lpad(pa.array(np.arange(rows)).cast(pa.large_string()), 10, "0")
    first, last, between = (pa.scalar(text, pa.large_string()) for text in ("clip", "000", "_"))
    ids = pc.binary_join_element_wise(first, numbers, last, between)
    return pd.DataFrame(
        {
            ID: pd.Series(pd.array(ids, dtype="str")),
            "num_frames": frames.astype(np.int32),
            "height": height,
            "width": width,
        }
    )
