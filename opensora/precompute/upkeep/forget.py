"""Take a video out of all runs of a folder and out of their store.

The order is such that a stop at any point leaves stores that can be read, and that the same command
goes on: data files are written anew, then the indexes name these, then the old ones go; the tables
by which the video is found are the last.
"""

import csv
import json
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from opensora.core.io import atomic_path, write_text
from opensora.precompute.source import Source, facts_file, find_source, models_that_saw
from opensora.precompute.upkeep.take_out import (
    Affected,
    find_affected,
    keys_named,
    remove_old,
    rewrite_indexes,
    write_rest,
)
from opensora.stores.rows import remove_rows, rows_of_files
from opensora.stores.runs import CLIPS, EMBEDDINGS, LATENTS, Results
from opensora.stores.sweep import clip_files, remove_empty
from opensora.tables.columns import ID
from opensora.tables.io import read_parquet, read_table, write_parquet, write_table
from opensora.tables.part_index import renew_index

_SHA256_DIGITS = 64
_REPORT = "report/index.html"
_REPORT_PARTS = ("index_files", "pictures")  # beside it: pictures, names and captions of clips
_ROWS = ("scores", "captions")  # folders of the store with rows by a clip's content
_PEOPLES = ("manifest.csv", "rejected.csv")
_DERIVED = (
    "manifest",
    "captions",
    "scores/*",
    "clips",
    "scenes",
    "ingest",
)  # the last is looked up


@dataclass
class Held:
    """What runs and store hold of a video.

    Attributes:
        source: the video.
        tables: table -> its rows of the video.
        indexes: run and kind -> rows of its indexes.
        clips: clip files.
        data: kind -> data files that hold rows of it.
        rows: files of scores and of replies of captioners -> rows.
        reports: pages that show pictures, perhaps its own.
        models: folders of models that saw it.
    """

    source: Source
    tables: dict[Path, int]
    indexes: dict[str, int]
    clips: list[Path]
    data: dict[str, list[Affected]]
    rows: dict[Path, int]
    reports: list[Path]
    models: list[str]

    def sentences(self, results: Results) -> Iterator[str]:
        """What a person reads before it is done."""
        source = self.source
        yield f"video {source.sha256 or 'without a sha256'}: {', '.join(sorted(source.paths))}"
        for run in results.runs:
            counts: dict[str, int] = {}
            for path, count in self.tables.items():
                if path.is_relative_to(run):
                    name = path.relative_to(run).parts[0]
                    counts[name] = counts.get(name, 0) + count
            for kind in (LATENTS, EMBEDDINGS):
                counts[kind] = self.indexes.get(f"{run.name}/{kind}", 0)
            counts = {name: count for name, count in counts.items() if count}
            if counts:
                rows = ", ".join(f"{name} {count}" for name, count in counts.items())
                yield f"run {run.name}, rows: {rows}"
        num_bytes = sum(path.stat().st_size for path in self.clips)
        yield f"store, clips: {len(self.clips)} files, {num_bytes / 1e6:.1f} MB"
        for kind, affected in self.data.items():
            gone = sum(len(each.gone) for each in affected)
            size = sum(each.path.stat().st_size for each in affected if each.path.is_file()) / 1e6
            yield f"store, {kind}: {gone} rows of {len(affected)} files, {size:.1f} MB"
        for kind in _ROWS:
            found = (count for path, count in self.rows.items() if path.parts[-3] == kind)
            yield f"store, {kind}: {sum(found)} rows"
        yield f"reports with pictures: {', '.join(map(str, self.reports)) or 'none'}"
        yield f"models that saw it: {', '.join(self.models) or 'none'}"


def find_held(results: Results, word: str) -> Held:
    """Find all of a video; nothing is changed.

    Args:
        results: runs and store.
        word: path, id or SHA-256 of the video.

    Raises:
        ConfigError: nobody knows it, or it names several videos.
        StoreError: a run goes on, or an index, a table or a data file can not be read.
    """
    results.require_idle()
    source = find_source(results, word)
    its, others = keys_named(results, source.clips)
    keys = (source.keys | its) - source.other_keys - others
    indexes: dict[str, int] = {}
    for kind in (LATENTS, EMBEDDINGS):
        for run, index in results.indexes(kind):
            count = int(index.rows[ID].isin(source.clips.get(run.name, set())).sum())
            indexes[f"{run.name}/{kind}"] = indexes.get(f"{run.name}/{kind}", 0) + count
    tables = {path: len(rows) for path, rows in _rows_of_tables(results, source)}
    return Held(
        source,
        {path: count for path, count in tables.items() if count},
        indexes,
        [path for path in clip_files(results.store / CLIPS) if path.name in source.files],
        {
            LATENTS: find_affected(results, LATENTS, source.contents),
            EMBEDDINGS: find_affected(results, EMBEDDINGS, keys),
        },
        {
            path: rows
            for kind in _ROWS
            for path, rows in rows_of_files(results.store / kind, _key_of(source.contents)).items()
        },
        [path for run in results.runs if (path := run / _REPORT).is_file() and _is_in(run, source)],
        models_that_saw(results, source),
    )


def forget(results: Results, held: Held) -> None:
    """Take out what was found.

    Raises:
        StoreError: a run goes on.
    """
    results.require_idle()
    source = held.source
    for kind, affected in held.data.items():
        for each in affected:
            write_rest(kind, each)
        rewrite_indexes(results, kind, affected, source.clips)
        remove_old(affected)
        remove_empty(results.store / kind)
    for path in held.clips:
        path.unlink(missing_ok=True)
    remove_empty(results.store / CLIPS)
    for path in held.rows:
        remove_rows(path, _key_of(source.contents))
    for path in held.reports:
        path.unlink(missing_ok=True)
        for name in _REPORT_PARTS:
            shutil.rmtree(path.with_name(name), ignore_errors=True)
    for path, rows in _rows_of_tables(results, source):
        if rows:
            _drop(path, rows)
    for run in results.runs:
        renew_index(run / "manifest")
    _forget_probed(results, source)
    facts_file(results, source).unlink(missing_ok=True)


def last_words(held: Held) -> str:
    """What is left to do by hand."""
    models = (
        f"; models that saw it stay, delete them by hand: {', '.join(held.models)}"
        if held.models
        else ""
    )
    files = ", ".join(sorted(held.source.paths)) or "its file"
    return (
        "the next run makes tables, plans and report anew; remove"
        f" {files} from the folder of videos, or it comes back{models}"
    )


def _rows_of_tables(results: Results, source: Source) -> Iterator[tuple[Path, list[int]]]:
    """Tables of all runs, those by which the video is found last, and its rows in them."""
    for run in results.runs:
        everything = source.ids(run.name)
        for name in _PEOPLES:
            path = run / name
            if path.is_file():
                frame = read_table(path)
                yield path, _places(frame, everything) if ID in frame else []
    for name in _DERIVED:
        for run in results.runs:
            ids = source.ids(run.name)
            for folder in sorted(run.glob(name)):
                for path, frame in results.tables(run, str(folder.relative_to(run)), columns=[ID]):
                    yield path, _places(frame, ids)


def _places(frame: pd.DataFrame, ids: Collection[str]) -> list[int]:
    is_its = frame[ID].isin(ids).to_numpy()
    return [int(place) for place in is_its.nonzero()[0]]


def _drop(path: Path, rows: Collection[int]) -> None:
    """Write a table again without some rows; the others keep their types, and texts their form."""
    gone = set(rows)
    if path.suffix == ".csv":
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, quoting=csv.QUOTE_MINIMAL)
        write_table(frame.drop(index=list(gone)), path)
        return
    table = read_parquet(path)
    left = [row for row in range(table.num_rows) if row not in gone]
    with atomic_path(path) as temporary:
        write_parquet(table.take(pa.array(left, pa.int64())), temporary)


def _forget_probed(results: Results, source: Source) -> None:
    """Take its lines out of what ingest remembers of files."""
    for run in results.runs:
        for path in sorted({*run.glob("*.probed.jsonl"), *run.glob("ingest/*.probed.jsonl")}):
            words = {json.dumps(word) for word in (*source.paths, source.sha256) if word}
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            left = [line for line in lines if not any(word in line for word in words)]
            if len(left) < len(lines):
                write_text(path, "".join(left))


def _key_of(contents: Collection[str]) -> Callable[[str], bool]:
    """Whether a key of such a row begins with the content of a clip."""
    known = frozenset(contents)
    return lambda key: key[:_SHA256_DIGITS] in known


def _is_in(run: Path, source: Source) -> bool:
    return bool(source.ids(run.name))
