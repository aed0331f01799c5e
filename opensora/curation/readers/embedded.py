"""Parquet with the clips in it, as the feature Video of Hugging Face datasets has them."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from opensora.config.registry import READERS
from opensora.core.errors import TableError
from opensora.curation.readers.reader import Reader, folders_of, names_in
from opensora.curation.readers.unpack import Rows, rows_once, unpack
from opensora.tables.columns import FAULT, PATH, SPELLINGS, TEXT
from opensora.tables.parquet import open_rows
from opensora.tables.text_tables import fill_text, first_text

_SUFFIX = ".parquet"
_ROWS = 8  # held at a time: clips are large
_MEASURED = frozenset({"num_frames", "height", "width", "fps", "sha256", "kind", PATH, FAULT})


@READERS.register_module(name="parquet")
class EmbeddedClips(Reader):
    """Files `data/train-00000-of-00001.parquet` with a column of {bytes, path} and a caption."""

    layout = "Parquet with a column of {bytes, path} (Hugging Face datasets)"

    def takes(self, path: Path) -> bool:
        """A file, or a folder with files, of which the first has such a column."""
        return any(map(_column, _files(path)[:1]))

    def read(self, path: Path) -> pd.DataFrame:
        """The rows of all files.

        Raises:
            TableError: there is no place for clips, a file is damaged or names no caption.
        """
        store = self.need_store(path)
        rows: Rows = []
        for file in _files(path):
            rows += rows_once(file, store, _rows)
        if not rows:
            raise TableError(f"{path}: no row in {len(_files(path))} files")
        return fill_text(pd.DataFrame(rows))

    def first_texts(self, path: Path, most: int) -> list[str]:
        """Captions of the first file's first rows."""
        with open_rows(_files(path)[0]) as file:
            if not (text := _text_column(file.schema_arrow)):
                return []
            batch = next(file.iter_batches(batch_size=most, columns=[text]), None)
            return (
                [] if batch is None else [first_text(cell) for cell in batch.column(0).to_pylist()]
            )


def _files(path: Path) -> list[Path]:
    if path.suffix.lower() == _SUFFIX and path.is_file():
        return [path]
    files = [folder / name for folder in folders_of(path) for name in names_in(folder, (_SUFFIX,))]
    return [file for file in files if file.is_file()]


def _column(path: Path) -> str:
    """The column of clips; "" where there is none, or no table."""
    try:
        with open_rows(path) as file:
            schema = file.schema_arrow
    except (OSError, ValueError):
        return ""
    return next((field.name for field in schema if _holds_bytes(field.type)), "")


def _holds_bytes(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind):
        return False
    names = {field.name: field.type for field in kind}
    content = names.get("bytes")
    return content is not None and (
        pa.types.is_binary(content) or pa.types.is_large_binary(content)
    )


def _text_column(schema: pa.Schema) -> str:
    return next((name for name in SPELLINGS[TEXT] if name in schema.names), "")


def _rows(path: Path, store: Path) -> Iterator[dict[str, Any]]:
    column = _column(path)
    try:
        with open_rows(path) as file:
            text = _text_column(file.schema_arrow)
            if not column or not text:
                lacks = "{bytes, path}" if not column else " or ".join(SPELLINGS[TEXT])
                raise TableError(f"{path}: no column {lacks}; it has {file.schema_arrow.names}")
            plain = [
                field.name
                for field in file.schema_arrow
                if not pa.types.is_nested(field.type) and field.name not in _MEASURED
            ]
            columns = list(dict.fromkeys([column, text, *plain]))
            number = 0
            for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    clip, words = row.pop(column) or {}, first_text(row.pop(text))
                    yield {**row, **_brought(path, number, clip, words, store)}
    except (OSError, ValueError) as error:
        raise TableError(f"{path}: not a readable table ({error})") from error


def _brought(
    path: Path, number: int, clip: dict[str, Any], text: str, store: Path
) -> dict[str, Any]:
    """Path, text and fault of a row; a clip that is a file of its own stays where it is."""
    content, name = clip.get("bytes"), str(clip.get("path") or "")
    label = f"{path}/{number}"
    if not text.strip():
        return {PATH: label, TEXT: "", "sha256": "", FAULT: "no_caption: its text is empty"}
    if content:
        place, digest = unpack(io.BytesIO(content), len(content), store, name)
        return {PATH: place, TEXT: text, "sha256": digest, FAULT: ""}
    if name and "://" not in name and (path.parent / name).is_file():
        return {PATH: str(path.parent / name), TEXT: text, "sha256": "", FAULT: ""}
    fault = f"missing: {path}: row {number} has no bytes, and {name or 'no path'} is no file here"
    return {PATH: label, TEXT: text, "sha256": "", FAULT: fault}
