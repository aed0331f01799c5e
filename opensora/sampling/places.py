"""Where each sample is computed, so that its bytes depend on nothing but what is asked for.

A row of a batch is rounded by the size of the batch and by its place in it, not by what stands in
the other rows. Both follow here from the list of all samples, however it is ordered; who makes them
(jobs, processes, a second try) only takes rows away or fills them up.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from opensora.core.errors import ConfigError
from opensora.sampling.prompts import SampleRequest
from opensora.sampling.settings import SamplingSettings

_PART = re.compile(r"(\d+)/(\d+)")


class Place(NamedTuple):
    """Where a sample is computed.

    Attributes:
        size: rows of its batch.
        row: which of them is its own, from 0.
    """

    size: int
    row: int


class Batch(NamedTuple):
    """Samples that are made at once.

    Attributes:
        rows: what is computed; a row that nothing is left for repeats another one.
        places: sample -> its place; `rows` holds it there.
    """

    rows: list[SampleRequest]
    places: dict[SampleRequest, Place]


def whole_batches(wanted: Sequence[SampleRequest], settings: SamplingSettings) -> list[Batch]:
    """The batches of all samples of a run, each as full as the others, at most batch_size.

    Samples are taken in the order of their names. All of a batch have given frames in the same
    loops: a scheduler with a mask draws more noise than one without, so that a sample would
    otherwise depend on its neighbours.

    Args:
        wanted: every sample, finished or not, of all jobs and processes.
        settings: batch_size and loops.
    """

    def key(request: SampleRequest) -> tuple[bool, ...]:
        return request.masked_loops(settings)

    found = []
    for _, group in groupby(sorted(wanted, key=lambda one: (key(one), one.id)), key=key):
        same = list(group)
        size = -(-len(same) // -(-len(same) // settings.batch_size))
        for start in range(0, len(same), size):
            own = same[start : start + size]
            places = {request: Place(size, row) for row, request in enumerate(own)}
            found.append(Batch(_filled(places), places))
    return found


def batches_of(
    todo: Sequence[SampleRequest], places: Mapping[SampleRequest, Place], settings: SamplingSettings
) -> list[Batch]:
    """Batches of some samples, each in its place, as few as there can be.

    Args:
        todo: what is to be made.
        places: of at least these.
        settings: loops.
    """
    kinds: dict[tuple[tuple[bool, ...], int], dict[int, list[SampleRequest]]]
    kinds = defaultdict(lambda: defaultdict(list))
    for request in todo:
        place = places[request]
        kinds[request.masked_loops(settings), place.size][place.row].append(request)
    found = []
    for (_, size), rows in kinds.items():
        for number in range(max(map(len, rows.values()))):
            own = {
                waiting[number]: Place(size, row)
                for row, waiting in sorted(rows.items())
                if number < len(waiting)
            }
            found.append(Batch(_filled(own), own))
    return found


def parse_part(text: str | None) -> tuple[int, int]:
    """Number of a part, from 1, and how many there are, of "2/3"; None is the whole, (1, 1).

    Raises:
        ConfigError: another text, or a part that is not one of them.
    """
    if text is None:
        return 1, 1
    match = _PART.fullmatch(text)
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise ConfigError(f"--part {text}: expected 1/N to N/N, as 2/3 for the second of three.")
    return number, count


def _filled(places: Mapping[SampleRequest, Place]) -> list[SampleRequest]:
    """All rows of a batch; the first sample stands in every row that has none."""
    first, place = next(iter(places.items()))
    rows = [first] * place.size
    for request, own in places.items():
        rows[own.row] = request
    return rows
