"""Train, validation and test: by source video and near-duplicate group, never by clip."""

import numpy as np
import pandas as pd

from opensora.core.errors import ConfigError
from opensora.core.seed import derive_seed
from opensora.curation.duplicates import connected

TRAIN, VALIDATION, TEST = "train", "validation", "test"


def split_clips(
    videos: pd.Series, groups: np.ndarray, *, validation_fraction: float, test_fraction: float
) -> np.ndarray:
    """The side of each clip.

    Every source video draws its side from its id alone, so more data changes nothing for the
    videos that are there. Videos that share a near-duplicate clip go together; one held-out
    member holds all of them out, so a clip of the test set is never trained on in disguise.

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
