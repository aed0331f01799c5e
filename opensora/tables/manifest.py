"""Read a manifest: our own, or a CSV of Open-Sora's tools, which has fewer columns."""

import hashlib
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.core.errors import TableError
from opensora.tables.columns import ID, MANIFEST, PATH, TEXT
from opensora.tables.io import read_table

FOREIGN_FPS = 24.0  # of clips whose table does not say, as Open-Sora assumes
_MAX_SLUG = 40
log = logging.getLogger(__name__)


def read_manifest(path: str | Path) -> pd.DataFrame:
    """Read a table of clips and fill in what can be derived from the columns that are there.

    Needed are `path, text, num_frames, height, width`; a reference CSV has them after its
    `addinfo` step. Ids are made of the paths where there are none.

    Args:
        path: CSV or Parquet.

    Returns:
        A MANIFEST table; all further columns are kept.

    Raises:
        TableError: a needed column is missing, or holds something that can not be meant.
    """
    frame = read_table(path)
    for name in (PATH, TEXT, "num_frames", "height", "width"):
        if name not in frame.columns:
            raise TableError(
                f"{path}: column {name!r} is missing; a manifest needs path, text, num_frames,"
                f" height and width (rule {MANIFEST.rule} makes it)"
            )
    for name in ("num_frames", "height", "width"):
        frame[name] = _whole_numbers(frame[name], name, path)
    if "fps" not in frame:
        frame["fps"] = FOREIGN_FPS
    frame["fps"] = frame["fps"].fillna(FOREIGN_FPS)
    derived: dict[str, Callable[[], Any]] = {
        ID: lambda: frame[PATH].map(_identity),
        "aspect_ratio": lambda: (frame["height"] / frame["width"]).round(6),
        "resolution": lambda: frame["height"] * frame["width"],
        "text_len": lambda: frame[TEXT].map(lambda text: len(text.split())),
        "source": lambda: frame[PATH],
        "start": lambda: 0.0,
        "end": lambda: (frame["num_frames"] / frame["fps"]).where(frame["num_frames"] > 1, 0.0),
        "sha256": lambda: "",
        "split": lambda: "train",
    }
    frame = frame.assign(**{k: make() for k, make in derived.items() if k not in frame})
    return frame[[*MANIFEST.columns, *(c for c in frame.columns if c not in MANIFEST.columns)]]


def _whole_numbers(values: pd.Series, name: str, path: str | Path) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = numbers.isna() | (numbers < 1) | (numbers % 1 != 0)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise TableError(
            f"{path}: row {row + 1}: {name} is {str(values.iloc[row])!r}; expected a whole number"
            " of at least 1"
        )
    return numbers.astype("int64")


def _identity(path: str) -> str:
    """A readable, unique id that is also a safe file name."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", Path(path).stem).strip("-")[:_MAX_SLUG] or "file"
    return f"{slug}-{hashlib.sha256(path.encode()).hexdigest()[:12]}"


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
