"""A table of ready clips, of Open-Sora's tools or anybody's: checked once, where it is read."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from opensora.core.errors import TableError, VideoError
from opensora.core.guard import Guard
from opensora.curation.captions.caption_clips import ENCODING
from opensora.curation.ingest.ingest_videos import TIMEOUT_S, probe_all
from opensora.curation.manifest.build_manifest import Manifest, summary_of
from opensora.curation.manifest.corrections import Corrections, account_of, correct_rows
from opensora.curation.manifest.groups import assign_splits
from opensora.curation.manifest.ledger import Ledger
from opensora.tables.checks import EXPECTED, TRAIN, check_columns
from opensora.tables.columns import (
    CAPTION,
    CAPTIONS,
    CLIPS,
    DETAIL,
    FAULT,
    ID,
    LICENCE,
    NUM_CAPTIONS,
    OK,
    PATH,
    REJECTED,
    SHARD,
    SPELLINGS,
    STATUS,
    TEXT,
)
from opensora.tables.io import with_known_names
from opensora.tables.manifest import FOREIGN_FPS, fill_manifest, make_id, of_source
from opensora.text.caption import count_words
from opensora.text.clean import clean_caption

log = logging.getLogger(__name__)

RULE = "import_manifest"
_SIZES = ("num_frames", "height", "width")
_FACTS = (*_SIZES, "fps", "sha256")  # what a look into the file tells
# made anew from the facts, whatever the table says
_MADE = (
    *("aspect_ratio", "resolution", "text_len", NUM_CAPTIONS, "kind", "video_id", SHARD),
    *(STATUS, DETAIL),
)


@dataclass(frozen=True)
class Imported(Manifest):
    """A manifest, and what trains small encoders: CLIPS and CAPTIONS of its training clips.

    Attributes:
        corrected: rows whose sizes were not those of their file; the file is believed.
    """

    clips: pd.DataFrame
    captions: pd.DataFrame
    corrected: int


def import_manifest(
    table: pd.DataFrame,
    *,
    root: str | Path | None = None,
    validation_fraction: float = 0.0,
    test_fraction: float = 0.0,
    corrections: Corrections | None = None,
    workers: int = 2,
    timeout_s: float = TIMEOUT_S,
    journal: str | Path | None = None,
    source_name: str | None = None,
    licence: str = "",
) -> Imported:
    """Take the usable rows of a table, and account for the others.

    A row is marked where its id is there before (`duplicate_id`; ids are made of the paths if
    there are none), its `start`, `end` or `split` is none (`bad_value`), it has no text
    (`no_caption`, `empty_caption`, `caption_encoding`), or its file can not be read. Files are
    looked into, and believed, where `sha256`, a size or the rate is missing or can not be.

    Args:
        table: path and text, in a known spelling; more if there is more.
        root: folder that relative paths start from; None is the working folder.
        validation_fraction: share of sources that go to validation, where there is no `split`.
        test_fraction: the same for the test set.
        corrections: what a person says of single clips, by id.
        workers: processes that look into files.
        timeout_s: seconds that a file may take, on top of one for every 5 MB of it.
        journal: file in which files that were looked into are remembered.
        source_name: of the run's sources: a column, and the begin of each id.
        licence: of rows that tell none.

    Raises:
        TableError: a column is missing, or no row is left.
    """
    rows = _of_source(_prepared(table, root), source_name, licence)
    if source_name and corrections:  # the table of a run speaks of its other sources too
        corrections = {name: corrections[name] for name in rows[ID] if name in corrections}
    rows = _with_clean_texts(correct_rows(rows, corrections or {}))
    corrected = _look(rows, workers, timeout_s, Path(journal) if journal else None)
    for name in _SIZES:  # a marked row may lack them
        rows[name] = rows[name].fillna(0).astype("int64")
    ledger = Ledger()
    kept = ledger.close(RULE, rows.assign(seconds=_seconds(rows)))
    if kept.empty:
        raise _nothing_left(rows, ledger.top_reasons(), root)
    taken = fill_manifest(kept.drop(columns=[STATUS, DETAIL, "seconds"])).reset_index(drop=True)
    taken["split"] = _splits(kept, taken, validation_fraction, test_fraction)
    described = _described(taken, kept["seconds"].to_numpy())
    # sides that the table itself names are not drawn again: what is held out stays away
    learned = described[described["split"] == TRAIN] if "split" in table else described
    counts = {"kept": summary_of(described), **account_of(corrections, rows[ID])}
    return Imported(
        manifest=taken,
        rejected=pd.DataFrame(ledger.rejected, columns=list(REJECTED.columns)),
        funnel={"stages": ledger.stages, **counts},
        clips=learned[list(CLIPS.columns)],
        captions=learned[list(CAPTIONS.columns)],
        corrected=corrected,
    )


def _nothing_left(rows: pd.DataFrame, reasons: str, root: str | Path | None) -> TableError:
    """Why no row is of use, with the first one and where its file was looked for."""
    row = rows.iloc[0]
    said = (
        f"manifest: none of {len(rows)} rows can be used: {reasons};"
        f" the first, {row[PATH]}: {row[DETAIL] or row[STATUS]}"
    )
    if row[STATUS] != "missing" or (os.path.isabs(row[PATH]) and not root):
        return TableError(said)
    start = f"the root {root}" if root else "the folder that the command runs in"
    return TableError(
        f"{said}; relative paths start in {start}: --root (`root` of a source) names another"
    )


def _described(taken: pd.DataFrame, seconds: np.ndarray) -> pd.DataFrame:
    """A manifest with what stages before it would say."""
    return taken.assign(
        kind=np.where(taken["num_frames"] == 1, "image", "video"),
        video_id=taken["source"],
        seconds=seconds,
        **{STATUS: OK, DETAIL: ""},
    )


def _of_source(rows: pd.DataFrame, name: str | None, licence: str) -> pd.DataFrame:
    """The rows with what their source is called, and its licence where they tell none."""
    if name:
        rows = of_source(rows, name)
    if not licence:
        return rows
    told = rows[LICENCE].fillna("") if LICENCE in rows else pd.Series("", index=rows.index)
    return rows.assign(**{LICENCE: told.where(told != "", licence)})


def _seconds(rows: pd.DataFrame) -> pd.Series:
    """Footage of each row; what stays has the rate that its table or its file tells."""
    lacks = rows["fps"].isna() & (rows["num_frames"] > 1)
    if lacks.any():
        log.warning(
            "import_manifest rows=%d of those left out have no fps; their seconds count as if it"
            " were %g (first: %s)",
            *(int(lacks.sum()), FOREIGN_FPS, rows[PATH][lacks].iloc[0]),
        )
    seconds = rows["num_frames"] / rows["fps"].fillna(FOREIGN_FPS)
    return seconds.where(rows["num_frames"] > 1).fillna(0.0).round(6)


def _prepared(table: pd.DataFrame, root: str | Path | None) -> pd.DataFrame:
    """The table with our names, paths from the working folder, an id and a status.

    Ids that were there before and what no look into a file mends are marked.
    """
    rows = with_known_names(table).reset_index(drop=True)
    for name in (PATH, TEXT):
        if name not in rows:
            raise TableError(
                f"manifest: no column {name!r}; it may also be called"
                f" {', '.join(SPELLINGS[name][1:])}; the table has {', '.join(map(str, rows))}"
            )
    if rows.empty:
        raise TableError("manifest: the table has no row")
    nested = [name for name in rows if rows[name].map(lambda cell: _is_nested(cell)).any()]
    if nested:
        log.info("import_manifest nested_columns_left_out=%s", ",".join(map(str, nested)))
    if "flow" in rows:
        log.info(
            "import_manifest flow=as_it_is: the scorer counts pixels a second at a short side of"
            " 128, Open-Sora's unit is another"
        )
    rows = rows.drop(columns=[*nested, *_MADE], errors="ignore")
    rows[PATH] = [os.path.join(root or "", path) for path in rows[PATH]]
    own = rows[ID] if ID in rows else pd.Series("", index=rows.index)
    rows[ID] = own.where(own != "", rows[PATH].map(lambda path: make_id(path, path)))
    for name in _SIZES:
        values = pd.to_numeric(rows[name], errors="coerce") if name in rows else np.nan
        rows[name] = pd.Series(values, index=rows.index, dtype=float)
        rows[name] = rows[name].where((rows[name] >= 1) & (rows[name] % 1 == 0))
    rows, wrong = _checked(rows)
    if "fps" not in rows:
        rows["fps"] = np.nan
    if "sha256" not in rows:
        rows["sha256"] = ""
    rows = rows.assign(**{STATUS: OK, DETAIL: ""})
    if FAULT in rows:
        for fault in rows[FAULT][rows[FAULT] != ""].unique():
            reason, _, detail = fault.partition(": ")
            _mark(rows, rows[FAULT] == fault, reason, detail)
        rows = rows.drop(columns=FAULT)
    _mark(rows, rows[ID].duplicated(), "duplicate_id", "a row before it has the same id")
    for name, where in wrong.items():
        _mark(rows, where != "", "bad_value", [f"{name} is {cell}" for cell in where])
    return rows


def _checked(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    """Rates, seconds and sides as the schema has them, and a text a row of what is wrong, or ""."""
    checked, wrong = check_columns(rows)
    others = [
        name
        for name in ("start", "end")  # a clip of a longer file is none yet; only numbers count
        if name in rows and checked[name].isna().all() and not _are_numbers(rows[name])
    ]
    if others:
        log.info("import_manifest columns_without_seconds_left_out=%s", ",".join(others))
    told = {
        name: pd.Series(
            [f"{str(c)!r}; expected {EXPECTED[name]}" for c in rows[name]], index=rows.index
        ).where(where, "")
        for name, where in wrong.items()
        if name not in (*others, "fps") and where.any()  # files tell their rate
    }
    return checked.drop(columns=others), told


def _are_numbers(values: pd.Series) -> bool:
    return bool(pd.to_numeric(values, errors="coerce").notna().any())


def _is_nested(cell: Any) -> bool:
    return isinstance(cell, dict | list | np.ndarray)


def _mark(rows: pd.DataFrame, where: pd.Series, status: str, detail: str | Sequence[str]) -> None:
    """Mark rows that have no mark yet."""
    fresh = where & (rows[STATUS] == OK)
    rows[STATUS] = rows[STATUS].mask(fresh, status)
    rows[DETAIL] = rows[DETAIL].mask(fresh, pd.Series(detail, index=rows.index))


def _clean(text: str) -> tuple[str, int]:
    cleaned = clean_caption(text)
    return cleaned, count_words(cleaned)


def _with_clean_texts(rows: pd.DataFrame) -> pd.DataFrame:
    raw = list(rows[TEXT])
    rows[CAPTION] = raw
    with Guard(RULE) as guard:
        found = [guard.call(_clean, text) for text in raw]
    for number, fault in enumerate(found):
        if isinstance(fault, VideoError):
            _mark(rows, rows.index.to_series() == number, fault.reason, fault.detail)
    cleaned = [("", 0) if isinstance(row, VideoError) else row for row in found]
    rows[TEXT] = [text for text, _ in cleaned]
    rows["text_len"] = [words for _, words in cleaned]
    blank = pd.Series([not text.strip() for text in raw], index=rows.index)
    _mark(rows, blank, "no_caption", "its text is empty")
    left = [f"nothing is left of {text!r} after cleaning" for text in raw]
    _mark(rows, rows[TEXT] == "", "empty_caption", left)
    lost = pd.Series(["\ufffd" in text for text in raw], index=rows.index)
    _mark(rows, lost, ENCODING, "its text was read in a wrong encoding before: it holds U+FFFD")
    return rows


def _look(rows: pd.DataFrame, workers: int, timeout_s: float, journal: Path | None) -> int:
    """Look into the files of which the table does not tell enough; returns how many it got wrong.

    Of the others it is only asked whether they are there.
    """
    lacks_rate = rows["fps"].isna() & (rows["num_frames"] != 1)
    lacking = rows[list(_SIZES)].isna().any(axis=1) | lacks_rate | (rows["sha256"] == "")
    todo = lacking & (rows[STATUS] == OK)
    gone = pd.Series([not os.path.isfile(path) for path in rows[PATH]], index=rows.index)
    names = [f"{path}: no such file" for path in rows[PATH]]
    _mark(rows, gone & ~todo, "missing", names)
    found = pd.DataFrame(
        probe_all(rows.loc[todo, PATH].tolist(), workers, timeout_s, journal, RULE),
        index=rows.index[todo],
        columns=[*_FACTS, STATUS, DETAIL],
    )
    said, is_good = rows.loc[todo, list(_SIZES)], found[STATUS] == OK
    differs = (said.notna() & (said != found[list(_SIZES)].astype(float))).any(axis=1) & is_good
    for name in _FACTS:
        rows.loc[found.index[is_good], name] = found.loc[is_good, name]
    rows.loc[found.index, [STATUS, DETAIL]] = found[[STATUS, DETAIL]]
    return int(differs.sum())


def _splits(
    kept: pd.DataFrame, taken: pd.DataFrame, validation_fraction: float, test_fraction: float
) -> np.ndarray:
    """The side of each clip: as the table says, or drawn by source."""
    if "split" not in kept:
        return assign_splits(
            taken["source"],
            np.arange(len(taken)),
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
        )
    return kept["split"].to_numpy(dtype=object)
