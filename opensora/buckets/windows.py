"""Which windows of a long clip are kept as latents."""

from collections.abc import Mapping
from functools import lru_cache
from itertools import count
from typing import Any

import pandas as pd

from opensora.buckets.assignment import BucketLookup
from opensora.buckets.bucket import Bucket
from opensora.tables.checks import TRAIN
from opensora.tables.columns import ID, WINDOW

_SIZES = ("num_frames", "height", "width")


def with_windows(items: pd.DataFrame, frames: Mapping[str, int], windows: int) -> pd.DataFrame:
    """Items with a row for each window of a training clip.

    Held-out clips have their first window alone, so that every epoch asks the same of them.

    Args:
        items: id, bucket, frame_interval and split.
        frames: of each clip, by id.
        windows: how many are wanted of a clip at a bucket; a short clip has fewer.
    """
    used = items["bucket"].map(lambda name: Bucket.parse(name).num_frames)
    spans = (used - 1) * items["frame_interval"] + 1
    wanted = items["split"].eq(TRAIN).map({True: windows, False: 1})
    starts: Any = [
        window_starts(int(clip), int(span), number)
        for clip, span, number in zip(items[ID].map(frames), spans, wanted, strict=True)
    ]
    found = items.assign(**{WINDOW: starts}).explode(WINDOW, ignore_index=True)
    return found.astype({WINDOW: "int64"})


def expected_windows(
    table: BucketLookup, clips: pd.DataFrame, epochs: int, frame_interval: int, windows: int
) -> dict[Bucket, float]:
    """Expect how many windows of clips each bucket has after some epochs.

    Args:
        table: where clips go.
        clips: num_frames, height and width in pixels.
        epochs: see `BucketLookup.expected_clips`.
        frame_interval: source frames per used frame.
        windows: of a clip at a bucket, where it is long enough.
    """
    found: dict[Bucket, float] = {}
    # how many windows a clip has depends on its length
    parts = [part for _, part in clips.groupby("num_frames")] if windows > 1 else [clips]
    for part in parts:
        frames, height, width = (part[name].to_numpy() for name in _SIZES)
        for key, clips_of in table.expected_clips(frames, height, width, epochs).items():
            bucket = Bucket(*key)
            span = (bucket.num_frames - 1) * frame_interval + 1
            number = len(window_starts(int(frames[0]), span, windows))
            found[bucket] = found.get(bucket, 0.0) + clips_of * number
    return found


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


def _van_der_corput(number: int) -> float:
    """The binary digits of a number behind the point, mirrored: 1/2, 1/4, 3/4, 1/8, ..."""
    digits = f"{number:b}"[::-1]
    return int(digits, 2) / 2 ** len(digits)
