"""The manifest as planning reads it: sizes that are numbers, ids that are unique."""

import logging
from pathlib import Path

import pandas as pd

from opensora.core.errors import TableError
from opensora.tables.columns import ID, MANIFEST
from opensora.tables.manifest import read_manifest

log = logging.getLogger(__name__)


def read_clips(path: str | Path) -> pd.DataFrame:
    """Read a manifest and refuse what a plan can not be made of.

    Scores without a value are only warned about: buckets do not look at them.

    Args:
        path: CSV or Parquet; see `read_manifest`.

    Returns:
        A MANIFEST table.

    Raises:
        TableError: a column is missing, a size is no whole number of at least 1, or an id is
            empty or there twice; the sentence names row and column.
    """
    clips = read_manifest(path)
    for problem, wrong in {
        "is empty; give every clip an id": (clips[ID] == ""),
        "is there twice; give every clip an id of its own": clips[ID].duplicated(),
    }.items():
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise TableError(f"{path}: row {row + 1}: id {clips[ID].iloc[row]!r} {problem}")
    scores = clips.drop(columns=list(MANIFEST.columns)).select_dtypes("number")
    for name, values in scores.items():
        missing = values.isna().to_numpy()
        if missing.any():
            row = int(missing.argmax())
            log.warning(
                "%s: %s has no value in %d rows, the first is row %d (id %r); buckets do not use"
                " it, filter it in build-manifest if such clips are not wanted",
                *(path, name, int(missing.sum()), row + 1, clips[ID].iloc[row]),
            )
    return clips
