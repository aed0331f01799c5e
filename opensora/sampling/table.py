"""The table of all samples: of one run, or joined from those of its parts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.core.io import read_json
from opensora.sampling.prompts import SampleRequest
from opensora.sampling.records import record_path
from opensora.sampling.settings import SamplingSettings
from opensora.tables.columns import NUMBER, SAMPLE_PARTS, SAMPLES
from opensora.tables.io import read_table, write_table

TABLE_NAME = "samples.csv"
PARTS = "parts"  # folder of the tables of parts, beside the whole one


def part_path(save_dir: Path, number: int, count: int) -> Path:
    """Table of one part of several, counted from 1."""
    return save_dir / PARTS / f"{number}_of_{count}.csv"


def write_samples(
    numbers: Mapping[SampleRequest, int], settings: SamplingSettings, part: tuple[int, int]
) -> Path:
    """Write the table of finished samples, of a part or of the whole.

    Args:
        numbers: sample -> its number among all of the run, in the order of the prompts.
        settings: the folder.
        part: number and count of parts; (1, 1) is the whole.

    Returns:
        Its path.
    """
    rows: list[dict[str, Any]] = [
        {**read_json(record_path(request, settings)), NUMBER: number}
        for request, number in numbers.items()
    ]
    if part == (1, 1):
        return _write_whole(
            pd.DataFrame(rows, columns=list(SAMPLE_PARTS.columns)), settings.save_dir
        )
    path = part_path(settings.save_dir, *part)
    write_table(pd.DataFrame(rows, columns=list(SAMPLE_PARTS.columns)), path, SAMPLE_PARTS)
    return path


def join_parts(save_dir: Path, count: int) -> Path:
    """Join the tables of all parts to the whole one, which is the one a single run writes.

    Args:
        save_dir: folder of the samples.
        count: of parts.

    Raises:
        TableError: one of them is missing or can not be read.
    """
    paths = [part_path(save_dir, number, count) for number in range(1, count + 1)]
    return _write_whole(_joined([read_table(path, SAMPLE_PARTS) for path in paths]), save_dir)


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]  # an empty one would change types
    return pd.concat(filled, ignore_index=True) if filled else parts[0]


def _write_whole(rows: pd.DataFrame, save_dir: Path) -> Path:
    path = save_dir / TABLE_NAME
    write_table(rows.sort_values(NUMBER)[list(SAMPLES.columns)], path, SAMPLES)
    return path
