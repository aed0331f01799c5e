"""Clips that lie inside other files, brought out once, under the hash of what they are."""

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from opensora.core.io import put_first, scratch_folder, write_text
from opensora.core.versions import VERSIONS
from opensora.curation.ingest.journal import key_of
from opensora.media.formats import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from opensora.tables.columns import PATH

Row = dict[str, Any]
Rows = list[Row]

_PART = 1 << 20
_SUFFIX = ".mp4"  # of what comes without a name


def rows_once(archive: Path, store: Path, read: Callable[[Path, Path], Iterator[Row]]) -> Rows:
    """The rows of an archive: as they were noted, where it and its clips are still there.

    Args:
        archive: a file that holds clips.
        store: folder that clips are brought out into; notes lie in its `archives`.
        read: reads an archive into a store.
    """
    key = [VERSIONS["import_manifest"], key_of(str(archive.absolute()))]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    note = store / "archives" / f"{name}.json"
    try:
        rows: Rows = json.loads(note.read_text(encoding="utf-8"))
        if all(os.path.isfile(row[PATH]) for row in rows if row["sha256"]):
            return rows
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none yet, or cut off: the archive says it again
    rows = list(read(archive, store))
    note.parent.mkdir(parents=True, exist_ok=True)
    write_text(note, json.dumps(rows))  # columns in the order in which they came
    return rows


def unpack(source: BinaryIO, size: int, store: Path, name: str) -> tuple[str, str]:
    """Copy the next bytes of a file into the store, whole or not at all.

    Args:
        source: stands at the first byte.
        size: bytes of the clip.
        store: folder; clips lie at `{sha256[:2]}/{sha256}{suffix}`.
        name: of the clip, of which the suffix alone counts, and only a known one.

    Returns:
        Path and sha256.

    Raises:
        EOFError: there are fewer bytes.
    """
    suffix = os.path.splitext(name)[1].lower()
    suffix = suffix if suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES else _SUFFIX
    digest = hashlib.sha256()
    with scratch_folder(store / f".scratch-{uuid.uuid4().hex[:16]}") as scratch:
        made = scratch / f"clip{suffix}"
        with made.open("wb") as out:
            left = size
            while left:
                part = source.read(min(_PART, left))
                if not part:
                    raise EOFError(f"{left} of {size} bytes are missing")
                digest.update(part)
                out.write(part)
                left -= len(part)
        found = digest.hexdigest()
        place = store / found[:2] / f"{found}{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        put_first(made, place)
    return str(place), found
