"""Other projects' formats: WebDataset shards, and Parquet that Hugging Face `datasets` reads."""

import io
import itertools
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from opensora.core.errors import TableError
from opensora.core.io import atomic_path, write_text
from opensora.core.log import progress
from opensora.curation.export.dataset_card import CARD, dataset_card, splits_of
from opensora.curation.export.names import (
    DEFAULT_SUFFIX,
    SPLIT,
    as_written,
    check_names,
    member_name,
    without_places,
)
from opensora.tables.columns import ID, PATH, TEXT


@dataclass(frozen=True)
class Shards:
    """How many clips one file holds at most; one clip that is larger has its own file.

    Attributes:
        clips: their number.
        num_bytes: of all of them.
    """

    clips: int = 1000
    num_bytes: int = 1_000_000_000


def export_webdataset(
    manifest: pd.DataFrame, folder: Path, shards: Shards, card: str
) -> list[Path]:
    """Write `{split}-{k:06d}.tar`; each sample is `{id}.mp4` (or its suffix), `.txt` and `.json`.

    Equal clips give equal bytes: members carry no times or owners.

    Args:
        manifest: a MANIFEST table.
        folder: of the shards and of the card README.md.
        shards: their size.
        card: Markdown that describes the data, put below the header that names the splits.

    Raises:
        TableError: a name that is no file name or that two clips would share, a clip's file is
            missing, or the folder holds files already.
    """
    check_names(manifest, without_dots=True)
    rows = without_places(manifest).assign(**{TEXT: as_written(manifest)})
    patterns = {split: f"{split}-*.tar" for split in splits_of(manifest)}
    whole = dataset_card(manifest, card, patterns)
    return _export(rows, folder, "", shards, "tar", _write_tar, whole)


def export_parquet(
    manifest: pd.DataFrame, folder: Path, shards: Shards, card: str, *, copy: bool = True
) -> list[Path]:
    """Write `data/{split}-{k:06d}.parquet`, and a card `README.md`.

    The column `video` is a struct of bytes and path, as the Video feature of `datasets` stores it.

    Args:
        manifest: a MANIFEST table.
        folder: of the data set.
        shards: the size of files.
        card: Markdown that describes the data, put below the header that names the splits.
        copy: with the clips' bytes; otherwise `path` names the clips where they stand.

    Raises:
        TableError: a name that is no file name or that two clips would share, a clip's file is
            missing, or the folder holds files already.
    """
    check_names(manifest, without_dots=False)
    rows = without_places(manifest) if copy else manifest
    rows = rows.assign(**{TEXT: as_written(manifest)})
    write = _write_parquet if copy else _write_rows
    patterns = {split: f"data/{split}-*.parquet" for split in splits_of(manifest)}
    whole = dataset_card(manifest, card, patterns)
    return _export(rows, folder, "data", shards, "parquet", write, whole)


def _export(
    manifest: pd.DataFrame,
    folder: Path,
    below: str,
    shards: Shards,
    suffix: str,
    write: Callable[[pd.DataFrame, Path], None],
    card: str,
) -> list[Path]:
    if folder.is_dir() and any(folder.iterdir()):  # shards of another manifest would mix in
        raise TableError(f"{folder}: holds files already; export into an empty folder")
    files = []
    parts = list(_parts(manifest, shards, sizes=write is not _write_rows))
    with atomic_path(folder, folder=True) as temporary:
        for split, number, rows in progress(parts, description="export"):
            name = Path(below, f"{split}-{number:06d}.{suffix}")
            write(rows, temporary / name)
            files.append(folder / name)
        write_text(temporary / CARD, card)
    return files


def _parts(
    manifest: pd.DataFrame, shards: Shards, *, sizes: bool
) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Split, number and rows of each file."""
    for split in splits_of(manifest):
        rows = manifest[manifest[SPLIT] == split].sort_values(ID)
        bounds, num_bytes = [0], 0
        for place, path in enumerate(rows[PATH] if sizes else [""] * len(rows)):
            size = _size(Path(path)) if sizes else 0
            full = place - bounds[-1] >= shards.clips or num_bytes + size > shards.num_bytes
            if full and place > bounds[-1]:
                bounds.append(place)
                num_bytes = 0
            num_bytes += size
        for number, (start, end) in enumerate(itertools.pairwise([*bounds, len(rows)])):
            yield split, number, rows.iloc[start:end]


def _write_tar(rows: pd.DataFrame, path: Path) -> None:
    with atomic_path(path) as temporary, tarfile.open(temporary, "w") as archive:
        for record in rows.to_dict("records"):
            clip = Path(record[PATH])
            name = member_name(record[ID])
            facts = json.dumps(_facts(record), sort_keys=True, ensure_ascii=False)
            for suffix, content in (
                (clip.suffix or DEFAULT_SUFFIX, _read(clip)),
                (".txt", str(record[TEXT]).encode()),
                (".json", facts.encode()),
            ):
                member = tarfile.TarInfo(name + suffix)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def _write_rows(rows: pd.DataFrame, path: Path) -> None:
    _write_table(pa.Table.from_pandas(rows, preserve_index=False), path)


def _write_parquet(rows: pd.DataFrame, path: Path) -> None:
    table = pa.Table.from_pandas(rows.drop(columns=[PATH]), preserve_index=False)
    clips = [(name, Path(path)) for name, path in zip(rows[ID], rows[PATH], strict=True)]
    # a clip's own name is a hash; people know it by its id
    videos = [{"bytes": _read(clip), "path": f"{name}{clip.suffix}"} for name, clip in clips]
    table = table.add_column(
        0, "video", pa.array(videos, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    )
    _write_table(table, path)


def _write_table(table: pa.Table, path: Path) -> None:
    plain = [
        field.with_type(pa.string()) if pa.types.is_large_string(field.type) else field
        for field in table.schema
    ]
    table = table.cast(pa.schema(plain))
    features = {field.name: _feature(field) for field in table.schema}
    info = json.dumps({"info": {"features": features}})
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata({"huggingface": info}), temporary)


def _feature(field: pa.Field) -> dict[str, Any]:
    if field.name == "video":
        return {"_type": "Video"}
    kind = "string" if pa.types.is_string(field.type) else str(field.type)
    return {"dtype": {"double": "float64"}.get(kind, kind), "_type": "Value"}


def _facts(record: dict[Any, Any]) -> dict[str, Any]:
    """A row as JSON knows it; empty cells are null."""
    return {
        str(name): None if isinstance(value, float) and pd.isna(value) else value
        for name, value in record.items()
        if name != PATH
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _gone(path, error) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise _gone(path, error) from error


def _gone(path: Path, error: OSError) -> TableError:
    return TableError(
        f"{path}: {error.strerror}; the manifest names this clip: run split_clips again"
    )
