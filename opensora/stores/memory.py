"""Memory for batches that is used again and again."""

import threading
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

_KEPT = 8  # free blocks of each kind
_Block = TypeVar("_Block")


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
        self._lock = threading.Lock()
        self._blocks: _Stock[np.ndarray] = _Stock()  # uint8 [bytes]
        # uint8 [rows, bytes], each with the number of bytes of each row that may differ from 0
        self._padded: _Stock[tuple[np.ndarray, list[int]]] = _Stock()

    def take(self, rows: int, width: int) -> Rows:
        """Return `rows` rows of `width` bytes with arbitrary content."""
        if self._pinned:
            return _pinned(rows, width)
        with self._lock:
            free = self._blocks.collect()
            fitting = [place for place, block in enumerate(free) if len(block) >= rows * width]
            if fitting:
                block = free.pop(min(fitting, key=lambda place: len(free[place])))
            else:
                block = np.empty(rows * width, dtype=np.uint8)
        return _hand_out(block[: rows * width].reshape(rows, width), self._blocks, block)

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
        with self._lock:
            free = self._padded.collect()
            fitting = (b.shape[1] == width and len(b) >= rows for b, _ in free)
            place = next((k for k, fits in enumerate(fitting) if fits), None)
            if place is not None:
                block, used = free.pop(place)
            else:
                block, used = np.zeros((rows, width), dtype=np.uint8), [0] * rows
        for place, count in enumerate(filled):
            if count < used[place]:
                block[place, count : used[place]] = 0
            used[place] = count
        return _hand_out(block[:rows], self._padded, (block, used))


def _pinned(rows: int, width: int) -> Rows:
    tensor = torch.empty(rows, width, dtype=torch.uint8, pin_memory=True)
    return Rows(tensor, tensor.numpy())


class _Stock(Generic[_Block]):
    """Free blocks of one kind.

    A block comes back in whatever thread drops its last tensor, even in the middle of `collect`,
    so it comes by a queue: the list is touched by the taker alone.
    """

    def __init__(self) -> None:
        self.returned: deque[_Block] = deque(maxlen=_KEPT)
        self._free: list[_Block] = []

    def collect(self) -> list[_Block]:
        """All free blocks, to take one out of; the oldest leave a full stock."""
        while self.returned:
            self._free.append(self.returned.popleft())
        del self._free[:-_KEPT]
        return self._free


def _hand_out(array: np.ndarray, stock: _Stock[_Block], block: _Block) -> Rows:
    """Give `array` away; when it is gone, `block` goes back into the stock."""
    weakref.finalize(array, stock.returned.append, block).atexit = False
    # the tensor and all its views keep `array` alive, and nothing else does for long
    return Rows(torch.from_numpy(array), array)
