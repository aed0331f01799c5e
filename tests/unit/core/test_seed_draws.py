import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensora.core.seed import CHUNK_ROWS, derive_seed, draw, hash_ids, mix

WORD = 2**64 - 1


def mixed(value: int) -> int:
    """splitmix64's finalizer on a Python integer."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & WORD
    return value ^ (value >> 31)


def hashed(text: str) -> int:
    """One id, eight bytes at a time, in plain Python."""
    data, value = text.encode(), 0x9E3779B97F4A7C15
    for start in range(0, len(data), 8):
        value = mixed(value ^ int.from_bytes(data[start : start + 8], "little"))
    return mixed(value ^ len(data))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=20))
@settings(max_examples=60)
def test_a_column_is_hashed_as_its_ids_one_by_one(ids):
    wanted = [hashed(name) for name in ids]
    for kind in ("str", object):
        assert hash_ids(pd.Series(ids, dtype=kind)).tolist() == wanted


def test_slices_and_pieces_of_a_column_have_the_same_hashes():
    ids = [f"clip_{i}" * (1 + i % 3) for i in range(CHUNK_ROWS + 20)]  # more than one chunk
    column = pd.Series(ids, dtype="str")
    whole = hash_ids(column)
    assert whole[[0, CHUNK_ROWS - 1, CHUNK_ROWS, -1]].tolist() == [
        hashed(ids[i]) for i in (0, CHUNK_ROWS - 1, CHUNK_ROWS, -1)
    ]
    np.testing.assert_array_equal(hash_ids(column.iloc[7:90]), whole[7:90])
    pieces = pd.concat([column.iloc[:5], column.iloc[5:]])
    np.testing.assert_array_equal(hash_ids(pieces), whole)


def test_ids_that_differ_by_a_zero_byte_or_by_their_end_differ():
    ids = ["", "\0", "a", "a\0", "abcdefgh", "abcdefgh\0", "abcdefghi"]
    assert len(set(hash_ids(pd.Series(ids)).tolist())) == len(ids)


def test_a_draw_is_the_mixed_hash_and_key():
    hashes = np.array([5, WORD], dtype=np.uint64)
    key = derive_seed(1, "order", 2)
    found = draw(hashes, 1, "order", 2)
    assert found.tolist() == [mixed(5 ^ key), mixed(WORD ^ key)]
    assert draw(hashes, 1, "order", 2, bits=44).tolist() == [int(v) >> 20 for v in found]


def test_mix_agrees_with_python_integers():
    values = np.array([0, 1, 2**63, WORD], dtype=np.uint64)
    assert mix(values).tolist() == [mixed(int(value)) for value in values]


@pytest.mark.parametrize("purpose", [(0, "bucket", 0), (1, "bucket", 0), (0, "bucket", 1)])
def test_draws_are_spread_evenly_and_do_not_follow_the_ids(purpose):
    hashes = hash_ids(pd.Series([f"clip{i:05d}" for i in range(20_000)]))
    uniform = draw(hashes, *purpose) / 2.0**64
    counts = np.histogram(uniform, bins=10, range=(0, 1))[0]
    # 2000 expected in each, deviation sqrt(2000 * 0.9) = 42
    assert np.abs(counts - 2000).max() < 5 * 42
    neighbours = np.corrcoef(uniform[:-1], uniform[1:])[0, 1]
    assert abs(neighbours) < 5 / np.sqrt(20_000)
