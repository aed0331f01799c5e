"""The checksum of a row finds every flipped bit, and words that changed places."""

import zlib

import numpy as np
import pytest

from opensora.stores.files import checksum

LINE = 512  # words


def by_hand(words: np.ndarray, rest: bytes = b"") -> int:
    """The checksum of whole lines of words and some bytes, by plain integers."""
    lines = [[int(word) for word in line] for line in words.reshape(-1, LINE)]
    sums = [sum(column) % 2**64 for column in zip(*lines, strict=True)], [sum(x) for x in lines]
    columns, others = (b"".join((x % 2**64).to_bytes(8, "little") for x in part) for part in sums)
    value = zlib.crc32(others) << 32 | zlib.crc32(columns + rest)
    return value - 2**64 if value >= 2**63 else value


def test_a_checksum_is_the_crc_of_the_sums_of_columns_and_lines():
    words = np.random.default_rng(0).integers(0, 2**64, 3 * LINE, np.uint64)
    assert checksum(words.view(np.uint8)) == by_hand(words)
    rest = b"seven b"
    data = np.concatenate((words.view(np.uint8), np.frombuffer(rest, np.uint8)))
    assert checksum(data) == by_hand(words, rest)
    assert checksum(np.frombuffer(rest, np.uint8)) == zlib.crc32(rest)
    assert checksum(np.zeros(0, np.uint8)) == 0


@pytest.mark.parametrize("size", [4, 40, 8 * LINE, 24 * LINE + 13])
def test_every_flipped_bit_is_found(size):
    data = np.random.default_rng(1).integers(0, 256, size, np.uint8)
    data[: size // 2] = 255  # where a carry runs far
    good = checksum(data)
    for place in np.unique(np.linspace(0, size - 1, 97).astype(int)):
        for bit in range(8):
            data[place] ^= np.uint8(1 << bit)
            assert checksum(data) != good, (place, bit)
            data[place] ^= np.uint8(1 << bit)
    assert checksum(data) == good


@pytest.mark.parametrize(
    ("one", "other"),
    [(0, 1), (0, LINE), (5, 5 + 2 * LINE), (7, LINE + 9), (3 * LINE, 3 * LINE + 1)],
    ids=["neighbours", "a column", "a column further on", "anywhere", "beyond the last line"],
)
def test_exchanged_words_are_found(one, other):
    words = np.random.default_rng(2).integers(0, 2**64, 3 * LINE + 2, np.uint64)
    for difference in (None, 2**63, 1):  # in all bits, in the highest one, in the lowest
        if difference is not None:
            words[other] = words[one] ^ np.uint64(difference)
        good = checksum(words.view(np.uint8))
        words[[one, other]] = words[[other, one]]
        assert checksum(words.view(np.uint8)) != good


def test_exchanged_lines_and_parts_are_found():
    words = np.random.default_rng(3).integers(0, 2**64, (4, LINE), np.uint64)
    lines = words[[0, 2, 1, 3]]
    assert checksum(words.view(np.uint8).ravel()) != checksum(lines.view(np.uint8).ravel())
    parts = [row.view(np.uint8) for row in words[:2]]
    assert checksum(*parts) != checksum(*parts[::-1])
