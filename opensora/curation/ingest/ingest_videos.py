"""Ingest: find videos and images, probe and hash each; every file gets exactly one row."""

import logging
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.core.errors import TableError
from opensora.core.io import sha256_file
from opensora.core.log import progress
from opensora.curation.ingest.discovery import FoundFiles, find_media, legible_path, shard_of
from opensora.curation.ingest.journal import Journal, key_of
from opensora.curation.ingest.probing import failed_row, probe_limit_s, probe_row
from opensora.curation.isolation import WorkerFailure, run_isolated
from opensora.tables.columns import LICENCE, OK, VIDEOS
from opensora.tables.io import write_table
from opensora.tables.manifest import make_id, of_source

log = logging.getLogger(__name__)

TIMEOUT_S = 120.0  # for a file of no size; see `probe_limit_s`


def ingest_videos(
    inputs: Sequence[str | Path],
    *,
    workers: int = 2,
    timeout_s: float = TIMEOUT_S,
    journal: str | Path | None = None,
    shard: tuple[int, int] | None = None,
    listing: str | Path | None = None,
    source_name: str | None = None,
    licence: str = "",
) -> pd.DataFrame:
    """Probe and hash every video and image below the inputs.

    Args:
        inputs: folders (walked recursively), globs, single files, or CSV/Parquet lists with a
            `path` column, relative to the list's folder; a column `licence` of theirs is kept.
        workers: processes that probe; one that crashes or takes too long costs its own file.
        timeout_s: seconds that a file may take, on top of one for every 5 MB of it.
        journal: file in which probed files are remembered, so that an interrupted or repeated
            ingest probes none twice.
        shard: (number, of how many): only the files of this shard, and no error if it has none.
        listing: file that keeps which shard each file is of, see `shards_of`.
        source_name: of the run's sources; ids begin with it, so that no two sources share one.
        licence: of the files of which no list tells another.

    Returns:
        A VIDEOS table, one row per file. Ids come from the content, so a moved file keeps its
        id. Of files with equal bytes the first is kept, the others have status `duplicate`.

    Raises:
        TableError: an input does not exist, or there is no media file at all.
    """
    found = find_media(inputs)
    if found.ignored:
        counts = " ".join(f"{name}={count}" for name, count in sorted(found.ignored.items()))
        log.info("ingest_videos ignored_files=%d %s", found.ignored.total(), counts)
    if not found.files and not found.unreadable:
        raise TableError(
            f"{', '.join(map(str, inputs))}: no video or image found; expected files such as"
            " .mp4, .mkv, .webm, .jpg or .png"
        )
    if shard is not None:
        found = found.shard(*shard, Path(listing) if listing else None)
    rows = probe_all(list(found.files), workers, timeout_s, Path(journal) if journal else None)
    for row, told in zip(rows, found.files.values(), strict=True):
        row[LICENCE] = told or licence
    rows.extend(_unreadable_folders(found))
    mark_duplicates(rows)
    videos = pd.DataFrame(rows, columns=list(VIDEOS.columns))
    return of_source(videos, source_name) if source_name else videos


def write_shards(
    videos: pd.DataFrame, folder: str | Path, num_shards: int, suffix: str = ".csv"
) -> list[int]:
    """Write every shard `folder/0000.csv` ..., empty ones too; returns the rows of each.

    A shard whose rows are the same as before keeps its file as it is, with its time.
    """
    shards = videos["path"].map(lambda path: shard_of(path, num_shards))
    counts = []
    for shard in range(num_shards):
        rows = videos[shards == shard]
        _write_changed(rows, Path(folder) / f"{shard:04d}{suffix}")
        counts.append(len(rows))
    return counts


def mark_duplicates(rows: list[dict[str, Any]]) -> None:
    """Give every later good row with the bytes of an earlier one the status `duplicate`."""
    kept: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["status"] != OK:
            continue
        first = kept.setdefault(row["sha256"], row)
        if first is not row:
            row["id"] = make_id(row["path"], row["path"])
            row["status"] = "duplicate"
            row["detail"] = f"same bytes as {first['path']} ({first['id']}), which is kept"


def probe_all(
    paths: list[str],
    workers: int,
    timeout_s: float,
    journal_path: Path | None,
    description: str = "ingest_videos",
) -> list[dict[str, Any]]:
    """Rows of all files in their order; what the journal knows is taken from there.

    Args:
        paths: files, there or not.
        workers: see :func:`ingest_videos`.
        timeout_s: see :func:`ingest_videos`.
        journal_path: file in which probed files are remembered.
        description: the rule that asks, for the log.
    """
    journal = Journal(journal_path) if journal_path else None
    known = journal.rows if journal else {}
    keys = [key_of(path) for path in paths]
    rows: dict[int, dict[str, Any]] = {}
    todo: list[int] = []
    for index, (path, key) in enumerate(zip(paths, keys, strict=True)):
        if key is None:
            rows[index] = probe_row(path)  # nothing to open: it gets its reason at once
        elif key in known:
            rows[index] = dict(known[key])
        else:
            todo.append(index)
    if journal and known:
        counts = (description, len(paths) - len(todo), len(todo))
        log.info("%s known_files=%d new_files=%d", *counts)
    results = run_isolated(
        probe_row,
        [paths[index] for index in todo],
        workers=workers,
        timeout_s=partial(probe_limit_s, timeout_s=timeout_s),
        stage=description,
        any_known=len(todo) < len(paths),
    )
    for place, row in progress(results, description=description, total=len(todo)):
        index = todo[place]
        if isinstance(row, WorkerFailure):
            row = failed_row(legible_path(paths[index]), row.reason, _detail(paths[index], row))
        rows[index] = row
        key = keys[index]
        if journal and key is not None:
            journal.add(key, dict(row))
    if journal:
        journal.finish(key for key in keys if key is not None)
    return [rows[index] for index in range(len(paths))]


def _detail(path: str, failure: WorkerFailure) -> str:
    return f"{Path(legible_path(path)).name}: {failure.detail}"


def _unreadable_folders(found: FoundFiles) -> list[dict[str, Any]]:
    rows = []
    for path, reason in found.unreadable.items():
        row = failed_row(
            legible_path(path), "unreadable", f"the folder can not be listed: {reason}"
        )
        rows.append({**row, LICENCE: ""})
    return rows


def _write_changed(rows: pd.DataFrame, path: Path) -> None:
    """Write a table; one of the same bytes stays untouched."""
    beside = path.with_name(f".{path.stem}.new{path.suffix}")
    try:
        write_table(rows, beside, VIDEOS)
        if not path.is_file() or sha256_file(path) != sha256_file(beside):
            os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
