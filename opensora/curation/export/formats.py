"""Other projects' formats: WebDataset shards, and Parquet that Hugging Face `datasets` reads."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from opensora.core.errors import TableError
from opensora.core.io import atomic_path, write_text
from opensora.core.log import progress
from opensora.curation.export.names import DEFAULT_SUFFIX, SPLIT, check_names, member_name
from opensora.tables.columns import ID, PATH, TEXT


def export_webdataset(manifest: pd.DataFrame, folder: Path, shard_size: int) -> list[Path]:
    """Write `{split}-{k:06d}.tar`; each sample is `{id}.mp4` (or its suffix), `.txt` and `.json`.

    Equal clips give equal bytes: members carry no times or owners.

    Args:
        manifest: a MANIFEST table.
        folder: of the shards.
        shard_size: clips a shard.

    Raises:
        TableError: a name that is no file name or that two clips would share, a clip's file is
            missing, or the folder holds files already.
    """
    check_names(manifest, without_dots=True)
    return _export(manifest, folder, shard_size, "tar", _write_tar)


def export_parquet(manifest: pd.DataFrame, folder: Path, shard_size: int, card: str) -> list[Path]:
    """Write `data/{split}-{k:06d}.parquet` with the clips' bytes, and a card `README.md`.

    The column `video` is a struct of bytes and path, as the Video feature of `datasets` stores it.

    Args:
        manifest: a MANIFEST table.
        folder: of the data set.
        shard_size: clips a file.
        card: Markdown that describes the data, put below the header that names the splits.

    Raises:
        TableError: a name that is no file name or that two clips would share, a clip's file is
            missing, or the folder holds files already.
    """
    check_names(manifest, without_dots=False)
    files = _export(manifest, folder / "data", shard_size, "parquet", _write_parquet)
    splits = "".join(
        f"      - split: {split}\n        path: data/{split}-*.parquet\n"
        for split in _splits(manifest)
    )
    header = f"---\nconfigs:\n  - config_name: default\n    data_files:\n{splits}---\n\n"
    write_text(folder / "README.md", header + card)
    return files


def _export(
    manifest: pd.DataFrame,
    folder: Path,
    shard_size: int,
    suffix: str,
    write: Callable[[pd.DataFrame, Path], None],
) -> list[Path]:
    if folder.is_dir() and any(folder.iterdir()):  # shards of another manifest would mix in
        raise TableError(f"{folder}: holds files already; export into an empty folder")
    files = []
    for split, number, rows in progress(list(_shards(manifest, shard_size)), description="export"):
        files.append(folder / f"{split}-{number:06d}.{suffix}")
        write(rows, files[-1])
    return files


def _shards(manifest: pd.DataFrame, size: int) -> Iterator[tuple[str, int, pd.DataFrame]]:
    for split in _splits(manifest):
        rows = manifest[manifest[SPLIT] == split].sort_values(ID)
        for number, start in enumerate(range(0, len(rows), size)):
            yield split, number, rows.iloc[start : start + size]


def _splits(manifest: pd.DataFrame) -> list[str]:
    return sorted(manifest[SPLIT].unique())


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


def _write_parquet(rows: pd.DataFrame, path: Path) -> None:
    table = pa.Table.from_pandas(rows.drop(columns=[PATH]), preserve_index=False)
    clips = [(name, Path(path)) for name, path in zip(rows[ID], rows[PATH], strict=True)]
    # a clip's own name is a hash; people know it by its id
    videos = [{"bytes": _read(clip), "path": f"{name}{clip.suffix}"} for name, clip in clips]
    table = table.add_column(
        0, "video", pa.array(videos, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    )
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
        raise TableError(
            f"{path}: {error.strerror}; the manifest names this clip: run split_clips again"
        ) from error
