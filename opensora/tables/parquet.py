"""The door of Parquet files: a flipped bit in one of ours is an error, never other rows.

Parquet itself notices few of them: of a compressed file nearly all bits change cells without a
word. So each page carries a checksum, and names, number of rows and metadata are sealed by a hash.
Files of others have neither and are read as they are.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SEAL = b"opensora.seal"  # key of the metadata


def write_rows(rows: pa.Table, path: Path, **options: Any) -> None:
    """Write rows in place; they, the options and the version of pyarrow decide the bytes.

    Args:
        rows: their metadata is kept.
        path: of the file.
        **options: of `pyarrow.parquet.write_table`.
    """
    metadata = {key: value for key, value in (rows.schema.metadata or {}).items() if key != SEAL}
    seal = _seal(rows.column_names, rows.num_rows, metadata)
    sealed = rows.replace_schema_metadata({**metadata, SEAL: seal})
    pq.write_table(sealed, path, write_page_checksum=True, **options)


@contextmanager
def open_rows(path: str | Path, **options: Any) -> Iterator[pq.ParquetFile]:
    """Open a file to read, and compare its seal.

    Args:
        path: of the file; a folder `a=b` above it adds no column.
        **options: of `pyarrow.parquet.ParquetFile`.

    Raises:
        OSError, ValueError: it is damaged; pages are compared when they are read.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, **options) as file:
            metadata = metadata_of(file)
            seal = metadata.pop(SEAL, None)
            if seal is not None:
                names = file.schema_arrow.names
                if seal != _seal(names, file.metadata.num_rows, metadata):
                    raise ValueError("its columns or notes are not those that were written")
            yield file
    except pa.ArrowException as error:  # most are ValueErrors, those of damaged types are not
        raise ValueError(str(error)) from error


def read_rows(path: str | Path, columns: Collection[str] | None = None) -> pa.Table:
    """Read a file, or those of the columns that are there.

    Raises:
        OSError, ValueError: it is damaged.
    """
    with open_rows(path) as file:
        names = file.schema_arrow.names
        wanted = None if columns is None else [name for name in names if name in columns]
        return file.read(columns=wanted)


def read_metadata(path: str | Path) -> dict[bytes, bytes]:
    """What was written beside the rows.

    Raises:
        OSError, ValueError: the file is damaged.
    """
    with open_rows(path) as file:
        return metadata_of(file)


def metadata_of(file: pq.ParquetFile) -> dict[bytes, bytes]:
    """The same of an open file."""
    return dict(file.schema_arrow.metadata or {})


def _seal(names: Sequence[str], num_rows: int, metadata: Mapping[bytes, bytes]) -> bytes:
    notes = sorted((key.hex(), value.hex()) for key, value in metadata.items())
    text = json.dumps([list(names), num_rows, notes])
    return hashlib.sha256(text.encode()).hexdigest().encode()
