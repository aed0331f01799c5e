import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensora.core.errors import ConfigError, TableError
from opensora.curation.manifest.groups import connected, near_duplicates


def hashes(bits: np.ndarray) -> pd.Series:
    return pd.Series([np.packbits(row).tobytes().hex() for row in bits])


def plain_groups(bits: np.ndarray, limit: int) -> list[int]:
    """All pairs, then the smallest position that can be reached."""
    count = len(bits)
    reach = (bits[:, None] != bits[None]).sum(-1) <= limit
    for middle in range(count):  # Warshall
        reach |= reach[:, middle : middle + 1] & reach[middle]
    return [int(np.flatnonzero(row)[0]) for row in reach]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31), st.integers(0, 5))
def test_groups_equal_those_of_all_pairs(seed: int, limit: int) -> None:
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 2, (5, 96)).astype(np.uint8)
    bits = base[rng.integers(0, 5, 24)]
    for row in bits:  # a few flipped bits each
        row[rng.choice(96, rng.integers(0, 7), replace=False)] ^= 1
    assert near_duplicates(hashes(bits), limit).tolist() == plain_groups(bits, limit)


def test_empty_hashes_are_nobodys_duplicates() -> None:
    same = "ff" * 12
    assert near_duplicates(pd.Series(["", same, "", same]), 0).tolist() == [0, 1, 2, 1]
    assert near_duplicates(pd.Series(["", ""]), 3).tolist() == [0, 1]


def test_wrong_limits_and_hashes_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected 0 to 5 bits"):
        near_duplicates(pd.Series(["ff" * 12]), 6)
    with pytest.raises(TableError, match="different lengths"):
        near_duplicates(pd.Series(["ff" * 12, "ff" * 10]), 1)
    with pytest.raises(TableError, match="not hexadecimal"):
        near_duplicates(pd.Series(["zz" * 12]), 1)


def test_components_are_named_by_their_smallest_member() -> None:
    pairs = np.array([[4, 2], [2, 5], [1, 3]])
    assert connected(pairs, 6).tolist() == [0, 1, 2, 1, 2, 2]
