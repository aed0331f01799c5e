"""Cells with fewer clips than one batch: move their clips to a neighbouring cell.

Splitting a small set over (resolution, frames, aspect ratio) leaves many cells that can not fill
one batch. Such a cell gives its clips to the neighbouring aspect ratio of the same resolution and
length, else to the next shorter length, else they are dropped for the epoch. A clip moves at most
one aspect ratio away from its own, and only ever loses frames, so it always fits.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from opensora.buckets.aspect import get_resolution
from opensora.buckets.bucket import Bucket
from opensora.buckets.bucket_config import IMAGE_FRAMES, BucketRule


def merge_small_cells(
    counts: Mapping[Bucket, int], rules: Sequence[BucketRule]
) -> dict[Bucket, Bucket | None]:
    """Decide where the clips of each cell are trained.

    Args:
        counts: clips per cell, as assigned.
        rules: parsed bucket config; its batch sizes say what a full batch is.

    Returns:
        For each cell of `counts` the cell its clips go to, or None where they are dropped. Every
        cell that receives clips has at least one full batch.
    """
    target: dict[Bucket, Bucket | None] = {}
    for resolution in dict.fromkeys(rule.resolution for rule in rules):
        table = get_resolution(resolution)
        keys = sorted(table.sizes, key=float)
        # clips wait here, per aspect ratio, with the cells they come from
        waiting: list[list[Bucket]] = [[] for _ in keys]
        for rule in rules:  # most frames first, so that what is left moves on to the next shorter
            if rule.resolution != resolution or rule.batch_size is None:
                continue
            if rule.num_frames == IMAGE_FRAMES:  # a video never becomes an image
                _drop(waiting, target)
                waiting = [[] for _ in keys]
            for index, key in enumerate(keys):
                cell = Bucket(resolution, rule.num_frames, key)
                if counts.get(cell, 0):
                    waiting[index].append(cell)
            sizes = np.array([sum(counts[cell] for cell in cells) for cells in waiting])
            for index, place in enumerate(_place(sizes, rule.batch_size)):
                if place is not None:
                    cell = Bucket(resolution, rule.num_frames, keys[place])
                    target.update(dict.fromkeys(waiting[index], cell))
                    waiting[index] = []
        _drop(waiting, target)
    return target


def _drop(waiting: list[list[Bucket]], target: dict[Bucket, Bucket | None]) -> None:
    for cells in waiting:
        target.update(dict.fromkeys(cells, None))


def _place(sizes: np.ndarray, batch_size: int) -> list[int | None]:
    """Group neighbouring aspect ratios until nothing more fills a batch.

    Args:
        sizes: [K] clips waiting at each aspect ratio, in the order of the ratios.
        batch_size: clips of a full batch.

    Returns:
        For each aspect ratio the one its clips join (itself where it is full), or None.
    """
    full = sizes >= batch_size
    place: list[int | None] = [index if full[index] else None for index in range(len(sizes))]
    settled = np.where(full, sizes, 0)
    free = np.where(full, 0, sizes)
    while True:
        padded = np.pad(free, 1)
        reach = padded[:-2] + padded[1:-1] + padded[2:]  # free clips at or beside each ratio
        viable = (reach > 0) & (settled + reach >= batch_size)
        if not viable.any():
            return place
        best = int(np.where(viable, settled + reach, -1).argmax())
        for index in range(max(best - 1, 0), min(best + 2, len(sizes))):
            if free[index]:
                place[index] = best
                settled[best] += free[index]
                free[index] = 0
