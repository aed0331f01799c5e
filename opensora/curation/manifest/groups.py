"""Groups of clips that belong together: near-duplicates; and the split, which keeps groups whole.

The bands of a hash, 16 bits each, are dealt out to one key more than bits may differ, so two hashes
within the limit agree in a whole key, and nothing is missed. Hashes that share a key are compared,
unless they are linked already: a crowd of clips that all look alike costs about as much as its
number, and only a crowd that shares a key and is not alike costs the square of it.
"""

import logging

import numpy as np
import pandas as pd

from opensora.core.errors import ConfigError, TableError
from opensora.core.seed import derive_seed
from opensora.tables.checks import TEST, TRAIN, VALIDATION

log = logging.getLogger(__name__)

BAND_BITS = 16


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
    words = _as_words(distinct)
    for key in np.array_split(distinct, max_distance + 1, axis=1):
        for members in _runs(key):
            _link(words, members, max_distance, label)
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


def _as_words(bits: np.ndarray) -> np.ndarray:
    """The same bits as uint64 [M, words], filled up with zeros: fewer numbers to compare."""
    missing = -bits.shape[1] % 4
    return np.pad(bits, ((0, 0), (0, missing))).view(np.uint64)


def _runs(key: np.ndarray) -> list[np.ndarray]:
    """Positions of the same key, uint16 [M, bands], for every key that occurs at least twice."""
    order = np.lexsort(key.T)
    changes = (np.diff(key[order].astype(np.int32), axis=0) != 0).any(axis=1)
    runs = np.split(order, np.flatnonzero(changes) + 1)
    return [run for run in runs if len(run) > 1]


def _link(words: np.ndarray, members: np.ndarray, limit: int, label: np.ndarray) -> None:
    """Unite the members of one key that differ in at most `limit` bits."""
    roots = np.array([_root(label, int(member)) for member in members])
    for k, member in enumerate(members):
        others = k + 1 + np.flatnonzero(roots[k + 1 :] != roots[k])  # not linked yet
        if not len(others):
            continue
        distance = np.bitwise_count(words[members[others]] ^ words[member]).sum(axis=1)
        linked = np.unique(roots[others[distance <= limit]])
        if len(linked):
            linked = np.append(linked, roots[k])
            label[linked] = linked.min()
            roots[np.isin(roots, linked)] = linked.min()


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
    videos: pd.Series,
    groups: np.ndarray,
    *,
    validation_fraction: float | np.ndarray,
    test_fraction: float,
    usable: np.ndarray | None = None,
) -> np.ndarray:
    """The side of each clip.

    Every source video draws its side from its id alone. Videos that share a near-duplicate clip go
    together, and one held-out member holds all of them out: more data moves a video that is there
    only where it brings a near-duplicate of it.

    Where that leaves nothing to train on, as of one or two videos it may, the video that drew the
    highest number is trained on, with those tied to it; more videos may move it back. Without
    ties it is the same video for every part of the clips that holds it, so the VAE, which learns
    before the manifest is made, learns from none that the manifest holds out.

    Args:
        videos: source video of each clip.
        groups: near-duplicate group of each clip (`near_duplicates`).
        validation_fraction: share of source videos; or one for each clip, the same for all clips of
            a video.
        test_fraction: share of source videos.
        usable: bool [N], clips that stay in the table; None is all. One of them is trained on.

    Returns:
        object [N] of "train", "validation", "test".

    Raises:
        ConfigError: the shares leave nothing to train on.
    """
    largest = float(np.max(validation_fraction, initial=0.0))
    _check_shares(largest, test_fraction)
    codes, names = pd.factorize(videos)
    if isinstance(validation_fraction, np.ndarray):
        first = np.unique(codes, return_index=True)[1]
        validation_fraction = validation_fraction[first]  # [V]
    position = np.array([derive_seed("split", name) / 2**63 for name in names])
    # 0 train, 1 validation, 2 test: where videos go together the largest wins
    draw = np.where(position < validation_fraction, 1, 0)
    draw[(position >= validation_fraction) & (position < validation_fraction + test_fraction)] = 2
    component = connected(_links(codes, groups), len(names))
    side = np.zeros(len(names), dtype=int)
    np.maximum.at(side, component, draw)
    used = np.unique(codes if usable is None else codes[usable])
    is_said = _keep_one_in_training(side, component, position, used)
    if largest and len(used) and not is_said and not (side[component[used]] == 1).any():
        log.warning(
            "split: none of %d source videos was drawn for validation (a share of %g), so that"
            " training measures no held-out loss; give more videos or a larger share",
            *(len(used), largest),
        )
    return np.array([TRAIN, VALIDATION, TEST], dtype=object)[side[component][codes]]


def _check_shares(validation_fraction: float, test_fraction: float) -> None:
    for name, share in (("validation", validation_fraction), ("test", test_fraction)):
        if not 0 <= share < 1:
            raise ConfigError(f"--{name}-fraction {share:g}: expected a number in [0, 1)")
    if validation_fraction + test_fraction >= 1:
        raise ConfigError(
            f"validation and test take {validation_fraction:g} + {test_fraction:g} of the videos;"
            " expected less than 1 together"
        )


def _keep_one_in_training(
    side: np.ndarray, component: np.ndarray, position: np.ndarray, videos: np.ndarray
) -> bool:
    """Move the videos of one component to training where none of those in use is there.

    Args:
        side: int [V], of the video that names a component; changed in place.
        component: int [V], of each video.
        position: [V], what each video drew.
        videos: int [M], those of the clips in use.

    Returns:
        Whether it had to, which it says.
    """
    if not len(videos) or (side[component[videos]] == 0).any():
        return False
    side[component[videos[position[videos].argmax()]]] = 0
    left = int((side[component[videos]] != 0).sum())
    log.warning(
        "split: each of %d source videos was drawn for validation or test; %d stays for training"
        " and %s held out",
        *(len(videos), len(videos) - left, f"{left} are" if left else "none is"),
    )
    return True


def _links(codes: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Pairs of videos that share a group: each member with the first of its group."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    pairs = np.stack([codes, codes[first[inverse]]], axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
