"""The micro batches of one epoch: clips by cell, in a random order, cut into full batches.

Works on whole columns: a clip is a position in the assignment table, a batch a run of positions.
The place of a clip in its cell's order follows from (seed, epoch, id), so that neither the order
of the table nor clips that come or go change the order of the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from opensora.buckets.bucket import Bucket
from opensora.buckets.bucket_config import BucketRule
from opensora.core.seed import draw, hash_ids
from opensora.plans.back_off import merge_small_cells
from opensora.plans.mix import SourceMix
from opensora.tables.columns import ID


@dataclass(frozen=True)
class EpochBatches:
    """B micro batches of one epoch, not yet in the order of training.

    Attributes:
        cells: the buckets.
        cell: int [B], index into `cells`.
        sizes: int [B], clips of each batch.
        starts: int [B], where each batch begins in `clips`.
        clips: int [clips], rows of the assignment, batch after batch.
        ids: text of all rows of the assignment.
        hashes: uint64 of all rows of the assignment.
    """

    cells: list[Bucket]
    cell: np.ndarray
    sizes: np.ndarray
    starts: np.ndarray
    clips: np.ndarray
    ids: pa.Array
    hashes: np.ndarray

    def __len__(self) -> int:
        return len(self.cell)

    def rows(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the clips of batches in a given order, and the offsets of the batches in them."""
        sizes = self.sizes[order]
        offsets = np.concatenate(([0], sizes.cumsum()))
        shift = np.repeat(self.starts[order] - offsets[:-1], sizes)
        return self.clips[np.arange(offsets[-1]) + shift], offsets


def cell_codes(assignment: pd.DataFrame) -> tuple[np.ndarray, list[Bucket]]:
    """Number the cells of an assignment.

    Returns:
        int [N], index of each clip's cell, -1 where it has none; and the cells, sorted.
    """
    parts = []
    for name in ("bucket_resolution", "bucket_aspect_ratio"):
        column = assignment[name]
        if not isinstance(column.dtype, pd.CategoricalDtype):
            column = column.astype("category")
        parts.append((column.cat.codes.to_numpy(np.int64), column.cat.categories))
    (resolution, resolutions), (ratio, ratios) = parts
    frame, lengths = pd.factorize(assignment["bucket_frames"].to_numpy(np.int64))
    key = (resolution * len(ratios) + ratio) * len(lengths) + frame
    present = np.flatnonzero(np.bincount(key, minlength=0))
    cells: dict[int, Bucket] = {}
    for number in map(int, present):
        rest, length = divmod(number, len(lengths))
        if lengths[length] > 0:
            place = divmod(rest, len(ratios))
            cells[number] = Bucket(
                str(resolutions[place[0]]), int(lengths[length]), str(ratios[place[1]])
            )
    names = sorted(cells.values())
    index = {cell: place for place, cell in enumerate(names)}
    code = np.full(int(present.max(initial=0)) + 1, -1, dtype=np.int64)
    for number, cell in cells.items():
        code[number] = index[cell]
    return code[key], names


def count_cells(assignment: pd.DataFrame) -> dict[Bucket, int]:
    """Return the clips of each cell, as assigned."""
    codes, cells = cell_codes(assignment)
    counts = np.bincount(codes[codes >= 0], minlength=len(cells))
    return {cell: int(count) for cell, count in zip(cells, counts, strict=True)}


def batch_sizes(rules: Sequence[BucketRule]) -> dict[tuple[str, int], int]:
    """Return the batch size of each (resolution, number of frames) that can receive clips."""
    sized = [rule for rule in rules if rule.batch_size is not None]
    return {(rule.resolution, rule.num_frames): rule.batch_size or 0 for rule in sized}


def trained_cells(
    counts: Mapping[Bucket, int], rules: Sequence[BucketRule], *, drop_last: bool
) -> dict[Bucket, Bucket | None]:
    """Where the clips of each cell are trained: itself, a neighbour it joins, or None (dropped).

    Without `drop_last` a cell that finds no neighbour stays: it is one smaller batch.
    """
    targets = merge_small_cells(counts, rules)
    if drop_last:
        return targets
    return {cell: target or cell for cell, target in targets.items()}


def form_batches(
    assignment: pd.DataFrame,
    rules: Sequence[BucketRule],
    *,
    seed: int,
    epoch: int,
    drop_last: bool = True,
    mix: SourceMix | None = None,
) -> EpochBatches:
    """Form the batches of one epoch.

    Args:
        assignment: ASSIGNMENT table of the epoch.
        rules: the parsed bucket config.
        seed: with `epoch` the order of the clips.
        epoch: epoch index.
        drop_last: leave out what does not fill a batch; otherwise it is a smaller batch.
        mix: chooses the clips where sources do not count alike; it goes through the epochs in turn.
    """
    codes, cells = cell_codes(assignment)
    counts = np.bincount(codes[codes >= 0], minlength=len(cells))
    targets = trained_cells(
        dict(zip(cells, counts.tolist(), strict=True)), rules, drop_last=drop_last
    )
    final = sorted({target for target in targets.values() if target is not None})
    index: dict[Bucket | None, int] = {cell: number for number, cell in enumerate(final)}
    goes_to = np.array([index.get(targets[cell], -1) for cell in cells] + [-1], dtype=np.int16)
    place = goes_to[codes]  # [N]; the last entry serves clips without a cell
    hashes = hash_ids(assignment[ID])
    sizes = batch_sizes(rules)
    wanted = [sizes[cell.resolution, cell.num_frames] for cell in final]
    if mix:
        order, held = mix.choose(
            place, final, wanted, hashes, seed=seed, epoch=epoch, drop_last=drop_last
        )
    else:
        # by chance first, then by cell: the second sort keeps the order of the first
        order = np.argsort(draw(hashes, seed, "order", epoch), kind="stable")
        order = order[np.argsort(place[order], kind="stable")]
        held = np.bincount(place[place >= 0], minlength=len(final))
    # what is mixed fills batches, or has a smaller one so that the shares hold
    cell, size, start = _cut(held, wanted, drop_last=drop_last and not mix)
    ids = pa.array(assignment[ID], from_pandas=True)
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    start += len(order) - held.sum()  # clips without a cell come first
    return EpochBatches(final, cell, size, start, order, ids.cast(pa.large_string()), hashes)


def _cut(
    held: np.ndarray, wanted: Sequence[int], *, drop_last: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut cells that lie one after the other into batches.

    Args:
        held: int [cells], clips of each.
        wanted: [cells], size of a full batch.
        drop_last: leave out what does not fill a batch.

    Returns:
        Cell, size and first clip of each batch.
    """
    full, rest = np.divmod(held, np.array(wanted, dtype=np.int64))
    number = full if drop_last else full + (rest > 0)
    cell = np.repeat(np.arange(len(held)), number)
    within = np.arange(number.sum()) - np.repeat(number.cumsum() - number, number)
    size = np.array(wanted, dtype=np.int64)[cell]
    begin = within * size
    return cell, np.minimum(size, held[cell] - begin), (held.cumsum() - held)[cell] + begin
