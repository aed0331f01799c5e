"""Memory for batches that is used again and again."""

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

_KEPT = 8  # free blocks of each kind


class Rows(NamedTuple):
    """The same bytes as a uint8 tensor and as an array, [rows, bytes of a row]."""

    tensor: Tensor
    array: np.ndarray


class BatchMemory:
    """Hands out memory and takes it back when the last tensor that lives in it is gone.

    The system gives fresh memory page by page at the first write, which costs several times the
    copy of a batch into it. For a GPU torch itself keeps such a stock, of page-locked memory.

    Args:
        pinned: page-locked, from which a GPU reads without a further copy.
    """

    def __init__(self, *, pinned: bool) -> None:
        self._pinned = pinned
        self._blocks: list[np.ndarray] = []  # uint8 [bytes]
        # uint8 [rows, bytes], each with the number of bytes of each row that may differ from 0
        self._padded: list[tuple[np.ndarray, list[int]]] = []

    def take(self, rows: int, width: int) -> Rows:
        """Return `rows` rows of `width` bytes with arbitrary content."""
        if self._pinned:
            return _pinned(rows, width)
        fitting = [place for place, block in enumerate(self._blocks) if len(block) >= rows * width]
        if fitting:
            block = self._blocks.pop(min(fitting, key=lambda place: len(self._blocks[place])))
        else:
            block = np.empty(rows * width, dtype=np.uint8)
        return _lend(block[: rows * width].reshape(rows, width), self._blocks, block)

    def take_padded(self, rows: int, width: int, filled: Sequence[int]) -> Rows:
        """Return rows that are 0 behind the bytes which the caller will fill.

        Only what the former owner filled is made 0 again, so nobody may write elsewhere.

        Args:
            rows: number of rows.
            width: bytes of a row.
            filled: of each row the bytes, 0..width, whose content is arbitrary.
        """
        if self._pinned:
            lent = _pinned(rows, width)
            for row, count in zip(lent.array, filled, strict=True):
                row[count:] = 0
            return lent
        fitting = (b.shape[1] == width and len(b) >= rows for b, _ in self._padded)
        place = next((k for k, fits in enumerate(fitting) if fits), None)
        if place is not None:
            block, used = self._padded.pop(place)
        else:
            block, used = np.zeros((rows, width), dtype=np.uint8), [0] * rows
        for place, count in enumerate(filled):
            if count < used[place]:
                block[place, count : used[place]] = 0
            used[place] = count
        return _lend(block[:rows], self._padded, (block, used))


def _pinned(rows: int, width: int) -> Rows:
    tensor = torch.empty(rows, width, dtype=torch.uint8, pin_memory=True)
    return Rows(tensor, tensor.numpy())


def _lend(array: np.ndarray, stock: list, block: Any) -> Rows:
    """Give `array` away; when it is gone, `block` goes back into the stock."""
    weakref.finalize(array, _keep, stock, block).atexit = False
    # the tensor and all its views keep `array` alive, and nothing else does for long
    return Rows(torch.from_numpy(array), array)


def _keep(stock: list, block: Any) -> None:
    """Put a block back; the oldest leaves a full stock."""
    stock.append(block)
    if len(stock) > _KEPT:
        del stock[0]
