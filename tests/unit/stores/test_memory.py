import gc
import queue
import threading

import numpy as np
import pytest
import torch

from opensora.stores.memory import BatchMemory, Rows


def test_memory_is_used_again_once_the_last_view_of_a_tensor_is_gone():
    memory = BatchMemory(pinned=False)
    first = memory.take(4, 32).tensor
    place = first.data_ptr()
    view = first.view(torch.float32).view(4, 2, 4)[1]
    del first
    gc.collect()
    other = memory.take(4, 32).tensor
    assert other.data_ptr() != place  # `view` still lives there
    del view
    gc.collect()
    again = memory.take(2, 10)  # smaller
    assert again.tensor.data_ptr() == place
    assert again.tensor.shape == again.array.shape == (2, 10)


def test_an_array_and_its_tensor_are_the_same_memory():
    lent = BatchMemory(pinned=False).take(2, 3)
    lent.array[:] = [[1, 2, 3], [4, 5, 6]]
    assert lent.tensor.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_tensors_that_live_at_the_same_time_share_nothing():
    memory = BatchMemory(pinned=False)
    tensors = [memory.take(1, 3).tensor.fill_(k) for k in range(20)]
    assert [tensor.tolist() for tensor in tensors] == [[[k] * 3] for k in range(20)]


def test_few_blocks_wait_for_use(monkeypatch):
    monkeypatch.setattr("opensora.stores.memory._KEPT", 2)
    memory = BatchMemory(pinned=False)
    tensors = [memory.take(1, 100).tensor for _ in range(5)]
    del tensors
    gc.collect()
    assert len(memory._blocks.collect()) == 2


@pytest.mark.parametrize("rounds", [[[1, 4, 0], [3, 2, 2], [0, 0, 4]], [[4, 4, 4], [0, 1]]])
def test_padded_memory_is_zero_behind_what_is_filled_whoever_had_it_before(rounds):
    memory = BatchMemory(pinned=False)
    places = set()
    for filled in rounds:
        lent = memory.take_padded(len(filled), 4, filled)
        places.add(lent.tensor.data_ptr())
        for row, count in zip(lent.array, filled, strict=True):
            row[:count] = 7
        expected = [[7] * count + [0] * (4 - count) for count in filled]
        assert lent.tensor.tolist() == expected
        del lent, row
        gc.collect()
    assert len(places) == 1


def test_padded_memory_of_another_width_is_not_mixed_up():
    memory = BatchMemory(pinned=False)
    memory.take_padded(2, 4, [4, 4]).array[:] = 9
    gc.collect()
    assert memory.take_padded(1, 8, [0]).tensor.tolist() == [[0] * 8]
    assert memory.take_padded(2, 4, [1, 0]).array[:, 1:].sum() == 0


def test_page_locked_memory_is_zero_behind_what_is_filled(monkeypatch):
    def pinned(rows: int, width: int) -> Rows:  # what torch gives on a machine with a GPU
        tensor = torch.full((rows, width), 9, dtype=torch.uint8)
        return Rows(tensor, tensor.numpy())

    monkeypatch.setattr("opensora.stores.memory._pinned", pinned)
    memory = BatchMemory(pinned=True)
    assert memory.take_padded(2, 3, [1, 3]).tensor.tolist() == [[9, 0, 0], [9, 9, 9]]
    assert memory.take(1, 2).tensor.tolist() == [[9, 9]]


def test_batches_dropped_in_another_thread_never_hand_out_too_little():
    memory = BatchMemory(pinned=False)
    dropping: queue.SimpleQueue = queue.SimpleQueue()

    def drop() -> None:
        while dropping.get() is not None:
            pass

    thread = threading.Thread(target=drop, daemon=True)
    thread.start()
    sizes = np.random.default_rng(0).integers(1, 50, 20_000)
    for rows in map(int, sizes):
        rows_lent = memory.take(rows, 64)
        assert rows_lent.tensor.shape == (rows, 64)
        dropping.put(rows_lent)
        del rows_lent
    dropping.put(None)
    thread.join()
