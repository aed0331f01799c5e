"""Take rows out of data files of a store: what is left is written anew, the indexes name that.

The order makes a stop at any point harmless: new files first, then the indexes of all runs, the old
files last. The same command then goes on, for it finds the same rows in the old files.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from opensora.core.errors import StoreError
from opensora.precompute.latent_doctor import latent_facts
from opensora.stores.catalogue import Catalogue
from opensora.stores.embeddings import OFFSETS, SCALES, TOKENS, write_embeddings
from opensora.stores.files import map_tensors, read_record
from opensora.stores.index import embedding_columns, latent_columns, write_index
from opensora.stores.int8 import dequantise
from opensora.stores.keys import KEY, MOMENTS
from opensora.stores.latents import TENSOR, write_latents
from opensora.stores.runs import EMBEDDINGS, LATENTS, Index, Place, Results
from opensora.stores.sweep import companions, data_files
from opensora.tables.parquet import read_rows

_GONE_BY = {LATENTS: "sha256", EMBEDDINGS: KEY}  # what tells the rows to take out
_BY_FILE = ("row", "start")  # columns of an index that the file decides


@dataclass
class Affected:
    """A data file with rows to take out.

    Attributes:
        place: where it is in the store.
        path: the same as a path.
        gone: rows to take out.
        rows: of the whole file.
        new: its rows elsewhere: row -> columns of an index; filled by `write_rest`.
        file: name of the new file, relative to its address; "" where nothing is left.
        facts: size and header of the new file.
    """

    place: Place
    path: Path
    gone: set[int]
    rows: int
    new: dict[int, dict[str, int]] = field(default_factory=dict)
    file: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def find_affected(results: Results, kind: str, gone: Collection[str]) -> list[Affected]:
    """The data files that hold rows to take out, also those that no index names.

    Args:
        results: of the store.
        kind: latents or embeddings.
        gone: SHA-256 of clip files; or keys of texts.

    Raises:
        StoreError: a file can not be read, so that its other rows would be lost.
    """
    found = []
    named = results.named(kind)
    for place, path in data_files(results.store / kind) if gone else ():
        values = _values(path, _GONE_BY[kind])
        rows = {row for row, value in enumerate(values) if value in gone}
        is_entered = path.with_suffix(".parquet").is_file()
        has_others = len(rows) < len(values) and (is_entered or place in named)
        if rows and has_others and (not is_entered or _tensors(path) is None):
            raise _unreadable(path)
        if rows:
            found.append(Affected(place, path, rows, len(values)))
    return found


def write_rest(kind: str, affected: Affected) -> None:
    """Write what is left of a file into a new one, with its own index and facts."""
    left = [row for row in range(affected.rows) if row not in affected.gone]
    if not left or not affected.path.with_suffix(".parquet").is_file():
        return  # what was never entered is named by nobody
    record, tensors = read_record(affected.path), _tensors(affected.path)
    if record is None or tensors is None:
        raise _unreadable(affected.path)
    catalogue = Catalogue(affected.path.parents[1], affected.place.part)
    facts = catalogue.facts(f"{affected.place.part}/{affected.place.name}")
    write = _write_latents if kind == LATENTS else _write_texts
    entries = write(catalogue, record, tensors, left, facts)
    affected.file = str(entries["file"].iloc[0])
    affected.facts = catalogue.files[affected.file]
    for old, new in zip(left, entries.to_dict("records"), strict=True):
        affected.new[old] = {name: int(new[name]) for name in _BY_FILE if name in new}


def rewrite_indexes(
    results: Results, kind: str, affected: Collection[Affected], forgotten: Mapping[str, set[str]]
) -> None:
    """Let the indexes of all runs name the new files, without the clips that are forgotten.

    Args:
        results: of the runs.
        kind: latents or embeddings.
        affected: files, after `write_rest`.
        forgotten: run -> ids of its clips.
    """
    by_place = {each.place: each for each in affected}
    for run, index in results.indexes(kind):
        is_gone = index.rows["id"].isin(forgotten.get(run.name, set()))
        places = {file: index.place(file) for file in set(index.rows["file"]) - {""}}
        if not is_gone.any() and by_place.keys().isdisjoint(filter(None, places.values())):
            continue
        files: dict[str, dict[str, Any]] = dict(index.record["files"])
        rows: list[dict[Any, Any]] = []
        for row in index.rows[~is_gone].to_dict("records"):
            place = places.get(row["file"])
            old = None if place is None else by_place.get(place)
            if old is not None:
                row.update(file=old.file, **old.new[int(row["row"])])
                files[old.file] = old.facts
            rows.append(row)
        columns_of = latent_columns if kind == LATENTS else embedding_columns
        columns = columns_of(index.rows)
        write_index(
            *(index.path, pd.DataFrame(rows, columns=list(columns)).astype(dict(columns))),
            columns=columns,
            store=_address_of(index),
            identity=index.record["identity"] if rows else {},
            files=files,
            gate=_without_pictures(index, by_place),
        )


def remove_old(affected: Collection[Affected]) -> None:
    """Remove the files that no index names any more."""
    for old in affected:
        if old.path.name == Path(old.file).name:
            continue
        for path in (*companions(old.path), old.path):
            path.unlink(missing_ok=True)


def keys_named(results: Results, clips: Mapping[str, set[str]]) -> tuple[set[str], set[str]]:
    """Keys of the texts of some clips, and of all others, as indexes say it.

    Args:
        results: of the runs.
        clips: run -> ids.
    """
    used: dict[Place, tuple[set[int], set[int]]] = {}
    for run, index in results.indexes(EMBEDDINGS):
        rows = index.rows[index.rows["file"] != ""]
        is_its = rows["id"].isin(clips.get(run.name, set()))
        for file, part in rows.groupby("file"):
            place = index.place(str(file))
            if place is not None:
                its, others = used.setdefault(place, (set(), set()))
                its.update(part["row"][is_its.loc[part.index]])
                others.update(part["row"][~is_its.loc[part.index]])
    found: tuple[set[str], set[str]] = (set(), set())
    for place, path in data_files(results.store / EMBEDDINGS):
        if place in used:
            values = _values(path, KEY)
            for keys, numbers in zip(found, used[place], strict=True):
                keys.update(values[row] for row in numbers if row < len(values))
    return found


def _write_latents(
    catalogue: Catalogue,
    record: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    left: list[int],
    facts: dict[str, Any],
) -> pd.DataFrame:
    keys, contents = record["keys"], record["sha256"]
    rows = pd.DataFrame(
        {KEY: [keys[row] for row in left], "sha256": [contents[row] for row in left]}
    )
    beside = {name: [tensor[row] for row in left] for name, tensor in tensors.items()}
    latents, identity = beside.pop(TENSOR), record["identity"]
    path, entries = write_latents(catalogue, latents, rows, record["bucket"], identity, beside)
    measured = latent_facts(latents, are_moments=identity.get("posterior") == MOMENTS)
    return catalogue.add(path, entries, measured | {"psnr": facts["psnr"]})


def _write_texts(
    catalogue: Catalogue,
    record: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    left: list[int],
    facts: dict[str, Any],
) -> pd.DataFrame:
    lengths = [record["tokens"][row] for row in left]
    kept = {
        name: torch.cat([tensor.split(record["tokens"])[row] for row in left])
        for name, tensor in tensors.items()
        if name != OFFSETS
    }
    texts = [record["texts"][row] for row in left]
    path, entries = write_embeddings(catalogue, kept, lengths, texts, record["identity"])
    return catalogue.add(path, entries, text_facts(kept, lengths, facts))


def text_facts(
    tensors: Mapping[str, Tensor], lengths: list[int], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """What the gate asks of a file of texts; what can only be measured while encoding stays.

    Args:
        tensors: tokens, and scales where they are int8.
        lengths: tokens of each text.
        facts: of the file that they were in.
    """
    tokens = tensors[TOKENS]
    norm: list[float] = []
    if tokens.dtype != torch.int64:
        if SCALES in tensors:
            tokens = dequantise(tokens, tensors[SCALES], torch.empty(tokens.shape))
        norms = tokens.double().norm(dim=1)
        norm = [float(norms.min()), float(norms.sum()), float(norms.max())]
    return {**facts, "captions": len(lengths), "tokens": sum(lengths), "norm": norm}


def _without_pictures(index: Index, affected: Mapping[Place, Affected]) -> dict[str, Any]:
    """What the gate found, without pictures that go."""
    gate = dict(index.record.get("gate", {}))
    gone = {each.path.with_suffix(".png").resolve() for each in affected.values()}
    buckets = {}
    for bucket, facts in gate.get("buckets", {}).items():
        picture = facts.get("montage")
        is_gone = picture is not None and (index.path.resolve().parent / picture).resolve() in gone
        buckets[bucket] = {k: v for k, v in facts.items() if not (is_gone and k == "montage")}
    return gate | ({"buckets": buckets} if buckets else {})


def _address_of(index: Index) -> Path:
    return (index.path.resolve().parent / index.record["store"]).resolve()


def _values(path: Path, column: str) -> list[str]:
    """What a data file says of its rows; of one that was never entered its own record."""
    try:
        return list(_column(path.with_suffix(".parquet"), column))
    except FileNotFoundError:
        record = read_record(path) or {}
        return list(record.get("keys" if column == KEY else column, []))
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(path.with_suffix(".parquet")) from error


def _column(index: Path, column: str) -> Iterator[str]:
    rows = read_rows(index, ["row", column]).to_pandas().sort_values("row")
    yield from rows[column]


def _tensors(path: Path) -> dict[str, Tensor] | None:
    return map_tensors(path) if read_record(path) is not None else None


def _unreadable(path: Path) -> StoreError:
    return StoreError(
        f"{path}: can not be read, so that its other rows would be lost; delete it, run the rules"
        " that name it again, and then the same command"
    )
