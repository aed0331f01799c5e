"""What the online loader costs beyond decoding just the frames it needs.

Both sides read the same files, the same windows and the same order, from a warm page cache, in one
thread. The other side knows the time of every frame before its clock starts; it seeks to the
keyframe before the window, decodes up to the last frame and turns the wanted ones into RGB.
"""

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pandas as pd

from opensora.bench.measure import Stopwatch, machine
from opensora.buckets.bucket import assign_buckets
from opensora.core.errors import TableError
from opensora.datasets.online import VideoTextDataset
from opensora.media.container import open_video
from opensora.media.frames import choose_window
from opensora.plans.compile import compile_plan, write_plan
from opensora.tables.columns import ID, PATH
from opensora.tables.manifest import read_manifest

GOAL = 1.3  # times the time of decoding
_REPEATS = 3  # reads of a batch on each side; the fastest counts


class Window(NamedTuple):
    """Frames of a file by their times, in ticks of its stream."""

    path: Path
    times: tuple[int, ...]


def bench_online_loader(
    manifest: str | Path,
    *,
    num_clips: int = 64,
    num_frames: int = 16,
    frame_interval: int = 3,
    image_size: tuple[int, int] = (256, 256),
    batch_size: int = 4,
    seed: int = 42,
) -> str:
    """Compare the two on the first clips of a manifest that are long enough.

    Args:
        manifest: table of clips.
        num_clips: clips to read.
        num_frames: frames of a clip.
        frame_interval: source frames per used frame.
        image_size: (height, width) of the batches.
        batch_size: clips of a batch.
        seed: of the choice of windows.

    Returns:
        One line with the ratio.

    Raises:
        TableError: the manifest is missing, or fewer than `batch_size` clips are long enough.
        VideoError: a file can not be read.
    """
    clips = read_manifest(manifest)
    clips = clips[clips["num_frames"] >= max(num_frames * frame_interval, 2)].head(num_clips)
    if len(clips) < batch_size:
        raise TableError(
            f"{manifest}: {len(clips)} clips have {num_frames * frame_interval} frames; a batch"
            f" needs {batch_size}: give longer clips, or fewer frames"
        )
    size = f"{image_size[0]}x{image_size[1]}"
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.parquet"
        buckets = {size: {num_frames: (1.0, batch_size)}}
        # how large a clip is does not matter here: small ones are enlarged
        large = clips.assign(height=image_size[0], width=image_size[1])
        placed = assign_buckets(large, buckets, seed=seed, frame_interval=frame_interval)
        made = compile_plan([placed], buckets, seed=seed, epochs=1)
        write_plan(made, plan, frame_interval=frame_interval)
        dataset = VideoTextDataset(
            *(manifest, plan, None, num_frames, frame_interval, image_size, "resize_crop"),
            seed=seed,
        )
        batches = _windows(dataset, clips, num_frames, frame_interval, seed)
        loader, decoder = _measure(dataset, batches)
    count = sum(map(len, batches))
    ratio = round(loader / decoder, 2)
    ours, theirs = (1e3 * seconds / count for seconds in (loader, decoder))
    return (
        f"online loader {ratio:.2f} times decoding just the needed frames,"
        f" {'within' if ratio <= GOAL else 'above'} the goal of {GOAL}: {ours:.1f} against"
        f" {theirs:.1f} ms a clip, {count} clips of {num_frames} frames at interval"
        f" {frame_interval} to {size} ({machine()})"
    )


def _windows(
    dataset: VideoTextDataset, clips: pd.DataFrame, num_frames: int, interval: int, seed: int
) -> list[list[Window]]:
    """What the loader will read, batch by batch."""
    columns = (clips[name].tolist() for name in (ID, PATH, "num_frames"))
    files = {name: (Path(path), total) for name, path, total in zip(*columns, strict=True)}
    batches = []
    for epoch, _, ids in (dataset.plan[position] for position in range(len(dataset))):
        batch = []
        for name in ids:
            path, total = files[name]
            chosen = choose_window(name, total, num_frames, interval, seed=seed, epoch=epoch)
            batch.append(Window(path, _times(path, chosen)))
        batches.append(batch)
    return batches


def _times(path: Path, frames: np.ndarray) -> tuple[int, ...]:
    # not through `media`, whose memory of files the loader is to fill by itself
    with open_video(path) as (container, stream):
        times = [packet.pts for packet in container.demux(stream) if packet.size]
    known = sorted(time for time in times if time is not None)
    if len(known) < len(times) or len(known) <= frames[-1]:
        raise TableError(f"{path}: has no usable times, so nothing can be compared; leave it out")
    return tuple(known[frame] for frame in frames)


def _measure(dataset: VideoTextDataset, batches: Sequence[Sequence[Window]]) -> tuple[float, float]:
    """Seconds of the loader and of the plain decoder: of each batch the fastest of some reads."""
    for window in itertools.chain(*batches):
        window.path.read_bytes()  # into the page cache
    loader, decoder = np.full((2, len(batches)), np.inf)
    for _ in range(_REPEATS):
        for position, batch in enumerate(batches):  # in turn, so that both see the same machine
            with Stopwatch() as watch:
                dataset[position]
            loader[position] = min(loader[position], watch.seconds)
            with Stopwatch() as watch:
                for window in batch:
                    decode_needed(window)
            decoder[position] = min(decoder[position], watch.seconds)
    return float(loader.sum()), float(decoder.sum())


def decode_needed(window: Window) -> list[np.ndarray]:
    """Decode a window the plain way; returns its frames, uint8 [H, W, 3] RGB, in order of time."""
    wanted = set(window.times)
    frames = []
    with av.open(str(window.path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        container.seek(window.times[0], stream=stream, backward=True)
        for frame in container.decode(stream):
            if frame.pts in wanted:
                frames.append(frame.to_ndarray(format="rgb24"))
                if frame.pts == window.times[-1]:
                    break
    return frames
