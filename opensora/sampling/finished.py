"""Whether a finished sample is still what was sampled: its file, its record, its row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opensora.core.errors import OpenSoraError, VideoError
from opensora.core.io import read_json, sha256_once
from opensora.core.seal import is_as_sealed, sealed
from opensora.tables.columns import PATH, SAMPLES, TEXTS, type_of

_CONTENT = "sha256"  # field of a record


def with_content(record: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A record with the hash of the sample's file, sealed.

    Raises:
        OSError: the file can not be read.
    """
    return sealed({**record, _CONTENT: sha256_once(path)})


def is_as_written(record: Mapping[str, Any], path: Path) -> bool:
    """Compare a record and the sample's file; of records of before there is nothing to compare."""
    if not is_as_sealed(record):
        return False
    try:
        return _CONTENT not in record or bool(record[_CONTENT] == sha256_once(path))
    except OSError:
        return False


def check_sample(row: Mapping[Any, Any], path: Path) -> None:
    """Compare a sample with the record beside it, if there is one.

    Args:
        row: of SAMPLES, its path as the table has it or whole.
        path: its file.

    Raises:
        VideoError: file, record or row have changed.
    """
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return
    try:
        record = read_json(beside)
    except OpenSoraError as error:
        raise _changed(f"{beside.name} can not be read") from error
    if not isinstance(record, dict) or not is_as_written(record, path):
        raise _changed(f"{path.name} and {beside.name} do not fit together")
    for name in SAMPLES.columns:
        said, noted = path.name if name == PATH else row[name], record.get(name)
        is_text = type_of(name) == TEXTS
        if (str(said) != str(noted)) if is_text else not _is_number(noted, said):
            raise _changed(f"{name} is {said!r} in the table and {noted!r} in {beside.name}")


def _is_number(noted: object, said: Any) -> bool:
    return isinstance(noted, int | float) and float(noted) == float(said)


def _changed(what: str) -> VideoError:
    return VideoError("changed", f"{what}; run sample again, which makes it anew")
