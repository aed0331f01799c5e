"""Groups of clips that belong together: near-duplicates; and the split, which keeps groups whole.

Candidates share at least one 16-bit band of the hash; two hashes that differ in fewer bits than
there are bands always do, so nothing within the limit is missed. Equal hashes are joined first.
Then all pairs that share a band are compared: of N unlike hashes about bands * N**2 / 2**17 pairs.
Where many clips look nearly alike the cost grows with the square of their number.
"""

import numpy as np
import pandas as pd

from opensora.core.errors import ConfigError, TableError
from opensora.core.seed import derive_seed

BAND_BITS = 16
_BLOCK = 2048  # members of one band compared at a time: bounds memory
TRAIN, VALIDATION, TEST = "train", "validation", "test"


def near_duplicates(hashes: pd.Series, max_distance: int) -> np.ndarray:
    """Group clips whose hashes are linked by at most `max_distance` differing bits.

    Args:
        hashes: hexadecimal text, all of one length; "" is never a duplicate.
        max_distance: bits.

    Returns:
        int64 [N]: the group of each clip, named by the position of its first member.

    Raises:
        ConfigError: the limit is negative, or so large that candidates could be missed.
        TableError: the column holds something else than hashes.
    """
    groups = np.arange(len(hashes))
    judged = np.flatnonzero((hashes != "").to_numpy())
    if not len(judged):
        return groups
    bits = _decode(hashes.iloc[judged])  # uint16 [M, bands]
    limit = bits.shape[1] - 1
    if not 0 <= max_distance <= limit:
        raise ConfigError(f"dedup: max_distance is {max_distance}; expected 0 to {limit} bits")
    distinct, first, inverse = np.unique(bits, axis=0, return_index=True, return_inverse=True)
    label = np.arange(len(distinct))
    for band in range(distinct.shape[1]):
        for members in _runs(distinct[:, band]):
            _link(distinct, members, max_distance, label)
    roots = _roots(label)
    # name each group by its first member in the table
    name = np.full(len(distinct), len(hashes))
    np.minimum.at(name, roots, judged[first])
    groups[judged] = name[roots[inverse.ravel()]]
    return groups


def connected(pairs: np.ndarray, count: int) -> np.ndarray:
    """Component of each of `count` nodes, named by its smallest member.

    Args:
        pairs: int [E, 2], linked nodes.
        count: number of nodes.
    """
    label = np.arange(count)
    for first, second in pairs:
        _unite(label, int(first), int(second))
    return _roots(label)


def _decode(hashes: pd.Series) -> np.ndarray:
    lengths = hashes.str.len()
    if lengths.nunique() > 1 or lengths.iloc[0] * 4 % BAND_BITS:
        raise TableError("scores: phash holds hashes of different lengths; run score_clips again")
    try:
        raw = bytes.fromhex("".join(hashes))
    except ValueError as error:
        raise TableError(
            f"scores: phash is not hexadecimal ({error}); run score_clips again"
        ) from error
    return np.frombuffer(raw, np.uint16).reshape(len(hashes), -1)


def _runs(band: np.ndarray) -> list[np.ndarray]:
    """Positions that share a value, for every value that occurs at least twice."""
    order = np.argsort(band, kind="stable")
    edges = np.flatnonzero(np.diff(band[order])) + 1
    return [run for run in np.split(order, edges) if len(run) > 1]


def _link(bits: np.ndarray, members: np.ndarray, limit: int, label: np.ndarray) -> None:
    """Unite the members of one band that differ in at most `limit` bits."""
    for start in range(0, len(members), _BLOCK):
        rows = members[start : start + _BLOCK]
        for other in range(start, len(members), _BLOCK):
            columns = members[other : other + _BLOCK]
            for k, row in enumerate(rows):
                later = columns[k + 1 :] if other == start else columns
                distance = np.bitwise_count(bits[later] ^ bits[row]).sum(axis=1)
                for match in later[distance <= limit]:
                    _unite(label, int(row), int(match))


def _unite(label: np.ndarray, first: int, second: int) -> None:
    first, second = _root(label, first), _root(label, second)
    if first != second:
        label[max(first, second)] = min(first, second)


def _root(label: np.ndarray, node: int) -> int:
    while label[node] != node:
        label[node] = label[label[node]]  # halve the path
        node = int(label[node])
    return node


def _roots(label: np.ndarray) -> np.ndarray:
    """Root of every node."""
    while True:
        shorter = label[label]
        if np.array_equal(shorter, label):
            return shorter
        label = shorter


def assign_splits(
    videos: pd.Series, groups: np.ndarray, *, validation_fraction: float, test_fraction: float
) -> np.ndarray:
    """The side of each clip.

    Every source video draws its side from its id alone. Videos that share a near-duplicate clip go
    together, and one held-out member holds all of them out: more data moves a video that is there
    only where it brings a near-duplicate of it.

    Args:
        videos: source video of each clip.
        groups: near-duplicate group of each clip (`near_duplicates`).
        validation_fraction: share of source videos.
        test_fraction: share of source videos.

    Returns:
        object [N] of "train", "validation", "test".

    Raises:
        ConfigError: the shares leave nothing to train on.
    """
    for name, share in (("validation", validation_fraction), ("test", test_fraction)):
        if not 0 <= share < 1:
            raise ConfigError(f"--{name}-fraction {share:g}: expected a number in [0, 1)")
    if validation_fraction + test_fraction >= 1:
        raise ConfigError(
            f"validation and test take {validation_fraction:g} + {test_fraction:g} of the videos;"
            " expected less than 1 together"
        )
    codes, names = pd.factorize(videos)
    position = np.array([derive_seed("split", name) / 2**63 for name in names])
    # 0 train, 1 validation, 2 test: where videos go together the largest wins
    draw = np.where(position < validation_fraction, 1, 0)
    draw[(position >= validation_fraction) & (position < validation_fraction + test_fraction)] = 2
    component = connected(_links(codes, groups), len(names))
    side = np.zeros(len(names), dtype=int)
    np.maximum.at(side, component, draw)
    return np.array([TRAIN, VALIDATION, TEST], dtype=object)[side[component][codes]]


def _links(codes: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Pairs of videos that share a group: each member with the first of its group."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    pairs = np.stack([codes, codes[first[inverse]]], axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
