"""Clips and captions for the small trainers: everything is decoded once, to small arrays."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from opensora.core.errors import TableError, VideoError
from opensora.core.seed import derive_seed
from opensora.media.decode import Picture, read_pictures
from opensora.media.frames import FILL, FrameTransform
from opensora.media.unchanged import check_unchanged
from opensora.tables.captions import first_captions
from opensora.tables.columns import CAPTIONS, CLIPS, ID, OK, PATH, STATUS, TEXT, Table
from opensora.tables.io import read_table

log = logging.getLogger(__name__)


def read_ok_rows(paths: Sequence[str | Path], table: Table) -> pd.DataFrame:
    """Read the shards of one table and keep the rows that go on."""
    frame = pd.concat([read_table(path, table) for path in paths], ignore_index=True)
    return frame[frame[STATUS] == OK].reset_index(drop=True)


def read_captions(paths: Sequence[str | Path]) -> list[str]:
    """Return the different captions of good rows, sorted; of a clip that has several all.

    Raises:
        TableError: there is none.
    """
    texts = read_ok_rows(paths, CAPTIONS)[TEXT]
    captions = sorted(set(texts[texts != ""]))
    if not captions:
        raise TableError(
            f"{paths[0]}: no row with status ok has a caption; look at the detail column of the"
            " caption tables"
        )
    return captions


def read_captioned_clips(
    clips: Sequence[str | Path], captions: Sequence[str | Path]
) -> pd.DataFrame:
    """Join clips and their captions 0; only rows that are good in both, ordered by id.

    Raises:
        TableError: no clip has a caption.
    """
    left = read_ok_rows(clips, CLIPS)
    right = first_captions(read_ok_rows(captions, CAPTIONS))[[ID, TEXT]]
    frame = left.merge(right[right[TEXT] != ""], on=ID).sort_values(ID, ignore_index=True)
    if frame.empty:
        raise TableError(
            f"{clips[0]}: no clip with status ok has a caption with status ok; look at the detail"
            " columns of the clip and caption tables"
        )
    return frame


def trained_on(kind: str, names: Iterable[str]) -> dict[str, Any]:
    """What an encoder learned from, to be recorded with it: it is trained once, data may come.

    Args:
        kind: what the names stand for, such as "clips".
        names: a hash of each clip, or each caption.

    Returns:
        How many there were and a hash of them all, in no order.
    """
    listing = sorted(names)
    digest = hashlib.sha256("\x1f".join(listing).encode()).hexdigest()
    return {"trained_on": {kind: len(listing), "listing": digest[:12]}}


def draw_rows(rows: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """Keep at most so many rows, the same ones for equal seeds, in the order of the table."""
    if len(rows) <= most:
        return rows
    rng = np.random.default_rng(derive_seed(seed, "rows"))
    return rows.iloc[np.sort(rng.choice(len(rows), most, replace=False))]


def read_spread(row: pd.Series, num_frames: int) -> list[Picture] | None:
    """Read evenly spaced frames of a clip, the first and the last among them.

    A shorter clip gives all of its frames.

    Returns:
        T pictures; None, with a warning, where the file can not be read or was replaced.
    """
    length = int(row["num_frames"])
    indices = np.linspace(0, length - 1, min(num_frames, length)).round().astype(int)
    try:
        check_unchanged(row[PATH], str(row.get("sha256", "")))
        return read_pictures(row[PATH], indices.tolist())
    except (VideoError, ValueError) as error:  # ValueError: fewer frames than the table says
        log.warning("clip skipped id=%s error=%s", row[ID], error)
        return None


def fill(pictures: Sequence[Picture], size: tuple[int, int]) -> Tensor:
    """Resize and crop pictures as all that is trained sees them.

    Args:
        pictures: T of them.
        size: (height, width).

    Returns:
        uint8 [T, 3, height, width].
    """
    transform = FrameTransform(FILL, size)
    return torch.stack([transform.levels(picture) for picture in pictures])


def one_word_variants(captions: Sequence[str]) -> list[tuple[int, ...]]:
    """Group captions that are equal but for one word.

    Args:
        captions: different from each other.

    Returns:
        Groups of at least two indices into `captions`; a caption stands in one group for each of
        its words that has an alternative.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, caption in enumerate(captions):
        words = caption.split()
        for place in range(len(words)):
            key = (str(place), *words[:place], "", *words[place + 1 :])
            groups.setdefault(key, []).append(index)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def one_word_pairs(captions: Sequence[str]) -> list[tuple[int, int]]:
    """All pairs of captions that are equal but for one word, as indices into `captions`."""
    return [pair for group in one_word_variants(captions) for pair in combinations(group, 2)]


def differing_bytes(one: str, other: str) -> tuple[slice, slice]:
    """Where the one differing word stands in each caption, in UTF-8 bytes."""
    words, others = one.split(), other.split()
    place = next(k for k, pair in enumerate(zip(words, others, strict=True)) if pair[0] != pair[1])
    start = len("".join(f"{word} " for word in words[:place]).encode())
    ends = [start + len(text.split()[place].encode()) for text in (one, other)]
    return slice(start, ends[0]), slice(start, ends[1])
