"""Chance that follows from names alone, so that order and parallelism never matter.

Seeds and shards are hashes of a key: a name, an id, the size of a file. Draws for a whole column
of ids cost a few operations on 64-bit integers each, instead of a hash function called per row; a
row's draw depends neither on the order of the table nor on the other rows.

Source of the mixing function: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
generators" (splitmix64).
"""

import hashlib
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa

CHUNK_ROWS = 1 << 15  # temporaries of one chunk stay in the processor's cache
_START = 0x9E3779B97F4A7C15  # golden ratio of 2**64; splitmix64's increment
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD_BYTES = 8


def derive_seed(*parts: object) -> int:
    """Hash the parts to a seed in [0, 2**63); equal parts give equal seeds on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def take_turns(number: int, epoch: int, *, seed: int, what: str, identity: str) -> int:
    """Which of several things a clip has an epoch sees.

    Every `number` epochs see each of them once, in an order of their own; who reads it, when and on
    which process changes nothing.

    Args:
        number: how many there are.
        epoch: from 0.
        seed: of training.
        what: they are, so that two kinds are drawn independently.
        identity: of the clip.
    """
    if number == 1:
        return 0
    turn, place = divmod(epoch, number)
    order = sorted(range(number), key=lambda k: derive_seed(seed, what, turn, identity, k))
    return order[place]


def stable_shard(identity: str, num_shards: int) -> int:
    """Return the shard in [0, num_shards) that an identity belongs to, whatever else exists."""
    return derive_seed("shard", identity) % num_shards


def chunks(length: int) -> Iterator[slice]:
    """Cut `length` rows into slices whose temporaries fit into the cache."""
    for start in range(0, length, CHUNK_ROWS):
        yield slice(start, min(start + CHUNK_ROWS, length))


def mix(values: np.ndarray) -> np.ndarray:
    """Finalizer of splitmix64 on uint64: every bit that goes in moves every bit that comes out."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_FIRST)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_SECOND)
    return values ^ (values >> np.uint64(31))


def hash_ids(ids: pd.Series) -> np.ndarray:
    """Hash a column of ids.

    The UTF-8 bytes are taken eight at a time: h = mix(h ^ word) for each word, the last one filled
    up with zeros, and h = mix(h ^ number of bytes) at the end.

    Args:
        ids: text, [N].

    Returns:
        uint64 [N], the same on every machine; another id has another hash.
    """
    hashes = np.empty(len(ids), dtype=np.uint64)
    position = 0
    for part in _arrow_parts(ids):
        offsets = np.frombuffer(part.buffers()[1], np.int64)[part.offset :][: len(part) + 1]
        data = np.frombuffer(part.buffers()[2] or b"", np.uint8)
        for rows in chunks(len(part)):
            bounds = offsets[rows.start : rows.stop + 1]
            first = position + rows.start
            hashes[first : first + len(bounds) - 1] = _hash_strings(bounds, data)
        position += len(part)
    return hashes


def draw(hashes: np.ndarray, *purpose: object, bits: int = 64) -> np.ndarray:
    """Return one uniform integer in [0, 2**bits) per id for a purpose such as (seed, epoch)."""
    key = np.uint64(derive_seed(*purpose))
    drawn = np.empty_like(hashes)
    for rows in chunks(len(hashes)):
        drawn[rows] = mix(hashes[rows] ^ key) >> np.uint64(64 - bits)
    return drawn


def _arrow_parts(ids: pd.Series) -> Iterator[pa.Array]:
    """The column as Arrow arrays of text with 64-bit offsets, without a copy where it is one."""
    column = pa.array(ids, from_pandas=True)
    for part in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        if len(part):
            yield part.cast(pa.large_string())


def _hash_strings(bounds: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Hash the n strings between n + 1 byte offsets."""
    start, lengths = bounds[:-1] - bounds[0], np.diff(bounds)
    padding = np.zeros(_WORD_BYTES, dtype=np.uint8)
    text = np.concatenate((data[bounds[0] : bounds[-1]], padding))
    # the 8 bytes that begin at each byte; numpy reads unaligned integers
    words = np.ndarray((len(text) - 7,), dtype="<u8", buffer=text.data, strides=(1,))
    hashes = np.full(len(start), _START, dtype=np.uint64)
    shortest = int(lengths.min())
    for offset in range(0, int(lengths.max()), _WORD_BYTES):
        if offset + _WORD_BYTES <= shortest:
            hashes = mix(hashes ^ words[start + offset])
            continue
        left = np.clip(lengths - offset, 0, _WORD_BYTES)  # bytes of each string from here
        word = words[np.minimum(start + offset, len(words) - 1)]
        # a shift by 64 bits is undefined, so the mask is shifted in two steps
        unused = np.uint64(4) * (_WORD_BYTES - left).astype(np.uint64)
        kept = word & ((np.uint64(2**64 - 1) >> unused) >> unused)
        hashes = np.where(left > 0, mix(hashes ^ kept), hashes)
    return mix(hashes ^ lengths.astype(np.uint64))
