"""The clips of a plan's entries: numbers into one table of ids, four bytes a clip.

In memory a column of lists whose values are dictionary-encoded, so that each entry still reads as
a list of texts. In a file the numbers are a column of their own, and each entry lists the ids that
come up in it for the first time: one after the other they are the table, each id once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MOST_CLIPS = 2**31 - 1  # offsets of a list are int32
_NO_CLIPS = pa.array([], pa.large_string())


class Entries(NamedTuple):
    """The clips of B entries.

    Attributes:
        offsets: int32 [B + 1], where each entry begins in `clips`.
        clips: int32 [clips], places in `ids`.
        ids: text, each once.
    """

    offsets: np.ndarray
    clips: np.ndarray
    ids: pa.Array

    @property
    def entry(self) -> np.ndarray:
        """Int64 [clips], the entry of each clip."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def column(self) -> pa.ListArray:
        """A column of lists that read as texts."""
        clips = pa.DictionaryArray.from_arrays(pa.array(self.clips), self.ids)
        return pa.ListArray.from_arrays(pa.array(self.offsets), clips)

    def file_columns(self) -> tuple[pa.ListArray, pa.ListArray]:
        """Numbers of clips, and the ids that each entry is the first to have."""
        place = np.full(len(self.ids), -1, dtype=np.int64)
        count = len(self.clips)
        place[self.clips[::-1]] = np.arange(count - 1, -1, -1)  # of two values the last one stays
        used = np.flatnonzero(place >= 0)
        order = used[np.argsort(place[used])]
        number = np.empty(len(self.ids), dtype=np.int32)
        number[order] = np.arange(len(order), dtype=np.int32)
        clips = pa.ListArray.from_arrays(pa.array(self.offsets), pa.array(number[self.clips]))
        begin = np.searchsorted(place[order], self.offsets).astype(np.int64)
        new = pa.LargeListArray.from_arrays(pa.array(begin), self.ids.take(pa.array(order)))
        return clips, new


def entries_of(column: pa.Array | pa.ChunkedArray) -> Entries:
    """Take a column of lists of texts apart, whether or not its values are dictionary-encoded."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return join_entries([_of_chunk(chunk) for chunk in chunks])


def entries_of_file(clips: pa.ChunkedArray, new_ids: pa.ChunkedArray) -> Entries:
    """Read what `Entries.file_columns` made.

    Raises:
        ValueError: a number has no id.
    """
    chunks = [chunk.flatten() for chunk in new_ids.chunks]
    ids = pa.concat_arrays(chunks) if chunks else _NO_CLIPS
    parts = [_numbers(chunk) for chunk in clips.chunks]
    found = join_entries([Entries(offsets, numbers, ids) for offsets, numbers in parts])
    if len(found.clips) and not 0 <= found.clips.min() <= found.clips.max() < len(ids):
        raise ValueError(f"clip {found.clips.max()} of {len(ids)}")
    return found


def join_entries(parts: Sequence[Entries]) -> Entries:
    """Put entries one after the other, with one table of ids."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Entries(np.zeros(1, dtype=np.int32), np.empty(0, dtype=np.int32), _NO_CLIPS)
    ids = parts[0].ids
    if not all(part.ids is ids or part.ids.equals(ids) for part in parts):
        ids = pc.unique(pa.concat_arrays([part.ids for part in parts]))
    clips = np.concatenate([in_table(part, ids) for part in parts])
    before = np.cumsum([0, *(len(part.clips) for part in parts)])
    offsets = [part.offsets[:-1] + start for part, start in zip(parts, before[:-1], strict=True)]
    return Entries(np.concatenate([*offsets, before[-1:]]).astype(np.int32), clips, ids)


def in_table(part: Entries, ids: pa.Array) -> np.ndarray:
    """The clips of entries as places in another table of ids, -1 where it lacks one."""
    if part.ids is ids or part.ids.equals(ids):
        return part.clips
    number = pc.index_in(part.ids, value_set=ids).fill_null(-1).to_numpy(zero_copy_only=False)
    return number[part.clips].astype(np.int32)


def _of_chunk(chunk: pa.ListArray) -> Entries:
    offsets, _ = bounds = _bounds(chunk)
    values = chunk.values.slice(bounds[1], int(offsets[-1]))
    if not pa.types.is_dictionary(values.type):
        values = values.cast(pa.large_string()).dictionary_encode()
    clips = values.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    return Entries(offsets, clips, values.dictionary)


def _numbers(chunk: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    offsets, start = _bounds(chunk)
    return offsets, chunk.values.slice(start, int(offsets[-1])).to_numpy()


def _bounds(chunk: pa.ListArray) -> tuple[np.ndarray, int]:
    """Offsets that begin at 0, and where the first entry begins among the values."""
    offsets = chunk.offsets.to_numpy()
    start = int(offsets[0])
    return (offsets - start).astype(np.int32), start
