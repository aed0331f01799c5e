"""Read the clips of a plan as pixels, ahead of the encoder, with bounded memory."""

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from opensora.core.errors import VideoError
from opensora.datasets.bucket import Bucket
from opensora.datasets.transforms import resize_crop_to_fill
from opensora.media.decode import iter_frames

_READERS = 2  # threads; decoding releases the interpreter lock
_AHEAD = 8  # clips read before they are wanted, at the bucket's size


def read_clip(path: str | Path, bucket: Bucket, frame_interval: int) -> Tensor:
    """Read the first frames of a clip at a bucket's size.

    Takes `bucket.num_frames` frames from the start of the file, every `frame_interval`-th. Each
    frame is scaled as soon as it is decoded, so a long or large clip costs one frame of memory.
    Shrinking averages over source pixels.

    Args:
        path: video or image.
        bucket: wanted (T, H, W).
        frame_interval: source frames per used frame.

    Returns:
        float32 [3, T, H, W] in [-1, 1].

    Raises:
        VideoError: the file can not be read or has too few frames.
    """
    height, width = bucket.size
    clip = torch.empty(3, bucket.num_frames, height, width)
    stop = (bucket.num_frames - 1) * frame_interval + 1
    found = 0
    for frame in itertools.islice(iter_frames(path, stop=stop), 0, None, frame_interval):
        pixels = torch.tensor(frame).permute(2, 0, 1)[None].float() / 255  # [1, 3, h, w]
        clip[:, found] = resize_crop_to_fill(pixels, bucket.size, antialias=True)[0]
        found += 1
    if found < bucket.num_frames:
        raise VideoError(
            "too_short",
            f"{path}: the plan needs {bucket.num_frames} frames at interval {frame_interval}, the"
            f" file has {found}; run split_clips and what follows again",
        )
    return clip.clamp_(0, 1).mul_(2).sub_(1)


def read_clips(items: pd.DataFrame, bucket: Bucket, frame_interval: int) -> Iterator[Tensor]:
    """Yield `read_clip` of each row's `path` in order, a few clips ahead in threads."""
    pending: deque[Future[Tensor]] = deque()
    with ThreadPoolExecutor(_READERS) as pool:
        try:
            for path in items["path"]:
                pending.append(pool.submit(read_clip, path, bucket, frame_interval))
                if len(pending) > _AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
