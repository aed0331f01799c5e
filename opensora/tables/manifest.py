"""The one reader of manifests, our own or Open-Sora's CSV files, and the one maker of ids."""

import hashlib
import logging
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.core.errors import TableError
from opensora.core.text import counted
from opensora.tables.checks import EXPECTED, TRAIN, check_columns
from opensora.tables.columns import (
    DETAIL,
    ID,
    LICENCE,
    MANIFEST,
    OK,
    PATH,
    SHARD,
    SOURCE_NAME,
    SPELLINGS,
    STATUS,
    STRINGS,
    TEXT,
)
from opensora.tables.io import read_table, with_known_names, write_table
from opensora.tables.partitions import read_parts
from opensora.tables.reasons import unknown_status

log = logging.getLogger(__name__)

CSV_ROWS = 1_000_000  # of a manifest that is also written as CSV without being asked
FOREIGN_FPS = 24.0  # of clips whose table does not say, as Open-Sora assumes
_ALWAYS = (ID, "num_frames", "height", "width", SHARD)  # read and checked, whatever is asked for
_MAX_SLUG = 40  # characters of the file name that an id repeats, for people


def read_manifest(
    path: str | Path,
    *,
    needs_text: bool = True,
    columns: Collection[str] | None = None,
    shard: int | None = None,
) -> pd.DataFrame:
    """Read a table of clips and fill in what can be derived from the columns that are there.

    Needed are `path, text, num_frames, height, width`; a reference CSV has them after its
    `addinfo` step. Ids are made of the paths where there are none.

    Args:
        path: CSV, Parquet, JSON lines or a list of JSON objects; other spellings of `path` and
            `text` are known (`columns.SPELLINGS`). Or a folder of Parquet partitions.
        needs_text: False also takes tables of clips and videos: their good rows, without texts. A
            `status` of other words, without a `detail` beside it, is somebody else's and says
            nothing.
        columns: what is needed of a large manifest besides ids and sizes; None is everything.
        shard: of a folder, the partition of this number alone.

    Returns:
        A MANIFEST table, of which `columns` may name a part; all further columns are kept. Of
        partitions the whole number `shard` says which one the clip is in; one file has no `shard`.

    Raises:
        TableError: a needed column is missing, a size is no whole number of at least 1, a rate, a
            second or a split is none (`checks.EXPECTED`), or an id is empty or there twice; the
            sentence names row and column.
    """
    frame = _read(path, None if columns is None else _needed(columns), shard)
    if not needs_text and STATUS in frame:
        found = unknown_status(frame[STATUS].unique())
        if found and DETAIL in frame:  # alone it is somebody else's
            raise TableError(f"{path}: status is {found[1]}")
        if not found:
            frame = frame[frame[STATUS] == OK].reset_index(drop=True)
    if not needs_text or (columns is not None and TEXT not in _needed(columns)):
        frame = frame.assign(**{TEXT: "", "text_len": frame.get("text_len", 0)})
    for name in (PATH, TEXT, "num_frames", "height", "width"):
        if name not in frame.columns:
            raise TableError(
                f"{path}: column {name!r} is missing; a manifest needs path, text, num_frames,"
                f" height and width (rule {MANIFEST.rule} makes it)"
            )
    for name in ("num_frames", "height", "width"):
        frame[name] = _whole_numbers(frame[name], name, path)
    frame = _checked(frame, path)
    _warn_of_rates(frame, path)
    frame = fill_manifest(frame)
    for problem, wrong in {
        "is empty; give every clip an id": (frame[ID] == ""),
        "is there twice; give every clip an id of its own": frame[ID].duplicated(),
    }.items():
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise TableError(f"{path}: row {row + 1}: id {frame[ID].iloc[row]!r} {problem}")
    kept = frame.columns if columns is None else {*_ALWAYS, *columns}
    return frame[[name for name in frame if name in kept]]


def _read(path: str | Path, columns: Collection[str] | None, shard: int | None) -> pd.DataFrame:
    if Path(path).is_dir():
        return with_known_names(read_parts(path, columns, shard=shard))
    return with_known_names(read_table(path, columns=columns)).drop(columns=SHARD, errors="ignore")


def _needed(columns: Collection[str]) -> set[str]:
    """The columns to read for some: what they are derived from and what is checked, too."""
    spelled = (PATH, *((TEXT,) if {TEXT, "text_len"}.intersection(columns) else ()))
    spellings = {spelling for name in spelled for spelling in SPELLINGS[name]}
    begin = {"start"} if "end" in columns else set()
    return {*_ALWAYS, *columns, "fps", STATUS, DETAIL} | spellings | begin


def write_manifest_csv(manifest: pd.DataFrame, path: str | Path, when: str) -> None:
    """Write a manifest for people, or remove the one of before, which it would not be.

    Args:
        manifest: a MANIFEST table.
        path: of the CSV file.
        when: "always", "never", or "auto": where it has at most CSV_ROWS rows.
    """
    if when == "always" or (when == "auto" and len(manifest) <= CSV_ROWS):
        write_table(manifest, path, MANIFEST)
        return
    Path(path).unlink(missing_ok=True)
    log.info(
        "manifest csv=%s left_out rows=%d most=%d when=%s", path, len(manifest), CSV_ROWS, when
    )


def fill_manifest(frame: pd.DataFrame) -> pd.DataFrame:
    """Derive the columns of a MANIFEST that are missing; path, text and whole sizes are there."""
    fps = frame["fps"].fillna(FOREIGN_FPS) if "fps" in frame else FOREIGN_FPS
    frame = frame.assign(fps=fps)
    begin = frame["start"].fillna(0.0) if "start" in frame else 0.0
    seconds = (frame["num_frames"] / frame["fps"]).where(frame["num_frames"] > 1, 0.0)
    derived: dict[str, Callable[[], Any]] = {
        ID: lambda: frame[PATH].map(lambda path: make_id(path, path)),
        "aspect_ratio": lambda: (frame["height"] / frame["width"]).round(6),
        "resolution": lambda: frame["height"] * frame["width"],
        "text_len": lambda: frame[TEXT].map(lambda text: len(text.split())),
        "source": lambda: frame[PATH],
        "start": lambda: 0.0,
        "end": lambda: begin + seconds,
        "sha256": lambda: "",
        "split": lambda: TRAIN,
    }
    for name, made in (("start", begin), ("end", begin + seconds)):  # empty cells of theirs
        if name in frame and frame[name].isna().any():
            frame = frame.assign(**{name: frame[name].fillna(made)})
    frame = frame.assign(**{k: make() for k, make in derived.items() if k not in frame})
    return frame[[*MANIFEST.columns, *(c for c in frame.columns if c not in MANIFEST.columns)]]


def _checked(frame: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """Rates, seconds and sides in the types of the schema, or the first cell that is none."""
    checked, wrong = check_columns(frame)
    for name, where in wrong.items():
        if where.any():
            row = int(where.to_numpy().argmax())
            raise TableError(
                f"{path}: row {row + 1}: {name} is {str(frame[name].iloc[row])!r}; expected"
                f" {EXPECTED[name]}"
            )
    return checked


def _warn_of_rates(frame: pd.DataFrame, path: str | Path) -> None:
    """Say where the rate of a video is assumed; an image has none."""
    rates = frame["fps"] if "fps" in frame else pd.Series(float("nan"), index=frame.index)
    lacks = (rates.isna() & (frame["num_frames"] > 1)).to_numpy()
    if lacks.any():
        row = int(lacks.argmax())
        log.warning(
            "%s: fps has no value in %s of videos, the first is row %d (%s); %g frames a"
            " second are assumed: give the column fps, or let import-manifest look into the files",
            *(path, counted(int(lacks.sum()), "row"), row + 1, frame[PATH].iloc[row], FOREIGN_FPS),
        )


def _whole_numbers(values: pd.Series, name: str, path: str | Path) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = numbers.isna() | (numbers < 1) | (numbers % 1 != 0) | (numbers >= 2**31)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise TableError(
            f"{path}: row {row + 1}: {name} is {str(values.iloc[row])!r}; expected a whole number"
            " of at least 1"
        )
    return numbers.astype("int64")


def of_source(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows with the name of their source in a column and at the begin of their ids.

    Args:
        rows: of a table with ids.
        name: of letters, digits and dashes, so that no two sources make one id.
    """
    named = rows.copy()
    named[ID] = f"{name}_" + rows[ID].astype(str)
    named[SOURCE_NAME] = name
    return named


def with_facts(clips: pd.DataFrame) -> pd.DataFrame:
    """Ready clips with what stages say of clips that were cut.

    Args:
        clips: a MANIFEST table.

    Returns:
        It with `seconds` (0 of a picture), `kind`, `video_id`, and `licence` ("" if none is told).
    """
    is_video = clips["num_frames"] > 1
    return clips.assign(
        seconds=(clips["end"] - clips["start"]).where(is_video, 0.0),
        kind=is_video.map({True: "video", False: "image"}),
        video_id=clips["source"],
        **{LICENCE: clips.get(LICENCE, "")},
    )


def stacked(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put tables of clips below one another; a column that one of them lacks is empty there."""
    joined = pd.concat([table for table in tables if len(table)], ignore_index=True)
    texts = [name for name in joined if name in STRINGS and joined[name].isna().any()]
    return joined.assign(**{name: joined[name].fillna("") for name in texts})


def make_id(path: str, content: str) -> str:
    """A readable, unique id that is also a safe file name.

    Args:
        path: of the file; its stem makes the id readable.
        content: what the id stands for, such as a hash of the file, or the path itself.
    """
    slug = re.sub(r"[^A-Za-z0-9]+", "-", Path(path).stem).strip("-")[:_MAX_SLUG] or "file"
    return f"{slug}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
