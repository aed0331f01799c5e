"""Read the clips of a plan as pixels, ahead of the encoder, with bounded memory."""

import itertools
import math
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from opensora.buckets.bucket import Bucket
from opensora.core.errors import VideoError
from opensora.media.decode import iter_frames
from opensora.media.frames import resize_crop_to_fill

_READERS = 2  # threads; decoding releases the interpreter lock
_AHEAD = 8  # clips read before they are wanted, at the bucket's size,
_AHEAD_BYTES = 512 << 20  # fewer if they are larger than this together, but always one


class ClipRequest(NamedTuple):
    """A clip to read: its id and file, and the bucket it is for."""

    id: str
    path: str
    bucket: Bucket

    @property
    def num_bytes(self) -> int:
        """Memory of the clip, float32."""
        return 4 * 3 * self.bucket.num_frames * math.prod(self.bucket.size)


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


def read_clips(
    requests: Iterable[ClipRequest], frame_interval: int
) -> Generator[Tensor, None, None]:
    """Yield `read_clip` of each request in order, some clips ahead in threads.

    Closing the iterator, or leaving it by an error, waits for the clips that are being decoded
    and drops the rest.

    Raises:
        VideoError: names the clip that can not be read, when its turn has come.
    """
    pending: deque[tuple[Future[Tensor], int]] = deque()
    waiting = 0  # bytes of the pending clips
    with ThreadPoolExecutor(_READERS, thread_name_prefix="read_clips") as pool:
        try:
            for request in requests:
                future = pool.submit(_read_request, request, frame_interval)
                pending.append((future, request.num_bytes))
                waiting += request.num_bytes
                while len(pending) > 1 and (len(pending) > _AHEAD or waiting > _AHEAD_BYTES):
                    future, size = pending.popleft()
                    waiting -= size
                    yield future.result()
            while pending:
                yield pending.popleft()[0].result()
        finally:
            for future, _ in pending:
                future.cancel()


def _read_request(request: ClipRequest, frame_interval: int) -> Tensor:
    try:
        return read_clip(request.path, request.bucket, frame_interval)
    except VideoError as error:
        raise VideoError(error.reason, f"clip {request.id}: {error.detail}") from error
