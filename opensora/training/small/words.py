"""Captions that differ in one word: the contrasts that an encoder of captions has to tell apart."""

from collections.abc import Sequence
from itertools import combinations


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
