"""Which frames of a clip an epoch sees."""

import numpy as np

from opensora.core.seed import derive_seed


def choose_window(
    identity: str,
    total_frames: int,
    num_frames: int,
    frame_interval: int,
    *,
    seed: int,
    epoch: int,
) -> np.ndarray:
    """Draw a window of a clip; the draw depends on (seed, epoch, id) alone.

    All starts at which num_frames * frame_interval frames fit are as likely, the last one too.
    A shorter clip is covered whole.

    Args:
        identity: id of the clip.
        total_frames: frames of the clip.
        num_frames: frames wanted.
        frame_interval: source frames per wanted frame.
        seed: base of all draws.
        epoch: number of the pass.

    Returns:
        int [num_frames], rising frame indices; see `temporal_crop`.

    Raises:
        ValueError: the clip has fewer than `num_frames` frames.

    Source: Open-Sora 1.1 (`datasets/utils.py`, TemporalRandomCrop), whose draw stops one short of
    the last start.
    """
    num_starts = max(total_frames - num_frames * frame_interval, 0) + 1
    begin = derive_seed(seed, "window", epoch, identity) % num_starts
    return temporal_crop(begin, total_frames, num_frames, frame_interval)


def temporal_crop(
    begin: int, total_frames: int, num_frames: int, frame_interval: int = 1
) -> np.ndarray:
    """Return the frame indices [num_frames] of a crop in time.

    Frames are spread evenly over [begin, begin + num_frames * frame_interval), truncated to whole
    indices; a video that ends earlier is covered to its end.

    Raises:
        ValueError: fewer than `num_frames` frames from `begin` on.
    """
    if total_frames - begin < num_frames:
        raise ValueError(f"{num_frames} frames from {begin} on do not fit into {total_frames}")
    end = min(begin + num_frames * frame_interval, total_frames)
    return np.linspace(begin, end - 1, num_frames, dtype=int)
