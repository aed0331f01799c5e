"""Ingest: find videos and images, probe and hash each; every file gets exactly one row."""

import glob
import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.core.errors import TableError, VideoError
from opensora.core.io import sha256_file
from opensora.core.logging import progress
from opensora.core.seed import stable_shard
from opensora.media.probe import IMAGE_SUFFIXES, VIDEO_SUFFIXES, probe
from opensora.tables.columns import OK, VIDEOS
from opensora.tables.io import read_table, write_table

log = logging.getLogger(__name__)

LIST_SUFFIXES = (".csv", ".parquet")
_MAX_SLUG = 40  # characters of the file name that an id repeats, for people


@dataclass(frozen=True)
class Found:
    """Files to probe, and what was passed over.

    Attributes:
        paths: in the order of the inputs, sorted inside each folder, no path twice.
        unreadable: folders that could not be listed -> the system's reason.
        ignored: suffix -> number of files that are no media by their suffix.
    """

    paths: list[Path]
    unreadable: dict[Path, str]
    ignored: Counter[str]


def ingest_videos(inputs: Sequence[str | Path], *, workers: int = 2) -> pd.DataFrame:
    """Probe and hash every video and image below the inputs.

    Args:
        inputs: folders (walked recursively), globs, single files, or CSV/Parquet lists with a
            `path` column, relative to the list's folder.
        workers: files probed at the same time.

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
    if not found.paths and not found.unreadable:
        raise TableError(
            f"{', '.join(map(str, inputs))}: no video or image found; expected files such as"
            " .mp4, .mkv, .webm, .jpg or .png"
        )
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        probed = pool.map(_probe_row, found.paths)
        rows = list(progress(probed, description="ingest_videos", total=len(found.paths)))
    for path, reason in found.unreadable.items():
        rows.append(_failed_row(path, "", "unreadable", f"the folder can not be listed: {reason}"))
    mark_duplicates(rows)
    return pd.DataFrame(rows, columns=list(VIDEOS.columns))


def write_shards(videos: pd.DataFrame, folder: str | Path, num_shards: int) -> list[int]:
    """Write every shard `folder/0000.csv` ..., empty ones too; returns the rows of each.

    A row's shard depends on its id alone, so a new video changes one shard.
    """
    shards = videos["id"].map(lambda identity: stable_shard(identity, num_shards))
    counts = []
    for shard in range(num_shards):
        rows = videos[shards == shard]
        write_table(rows, Path(folder) / f"{shard:04d}.csv", VIDEOS)
        counts.append(len(rows))
    return counts


def find_media(inputs: Sequence[str | Path]) -> Found:
    """List the files to probe; see :func:`ingest_videos` for the kinds of input."""
    found = Found([], {}, Counter())
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            _walk(path, found)
        elif path.is_file() and path.suffix.lower() in LIST_SUFFIXES:
            found.paths.extend(_read_list(path))
        elif path.is_file() or path.is_symlink():
            found.paths.append(path)  # named by the user: gets a row whatever its suffix
        elif glob.has_magic(str(given)):
            matches = sorted(glob.glob(str(given), recursive=True))
            if not matches:
                raise TableError(f"{given}: the pattern matches no file")
            for match in map(Path, matches):
                if match.is_dir():
                    _walk(match, found)
                else:
                    _sort_out(match, found)
        else:
            raise TableError(f"{given}: no such file or folder")
    unique = {os.path.abspath(path): path for path in reversed(found.paths)}
    return Found(list(unique.values())[::-1], found.unreadable, found.ignored)


def _walk(folder: Path, found: Found) -> None:
    """Collect a folder's files, following links to folders but never into the same one twice."""
    seen: set[tuple[int, int]] = set()

    def note(error: OSError) -> None:
        found.unreadable[Path(error.filename)] = error.strerror or str(error)

    files: list[Path] = []
    for root, folders, names in os.walk(folder, followlinks=True, onerror=note):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        files.extend(Path(root, name) for name in names)
    for path in sorted(files):
        _sort_out(path, found)


def _sort_out(path: Path, found: Found) -> None:
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES or suffix in IMAGE_SUFFIXES:
        found.paths.append(path)
    else:
        found.ignored[suffix or "(none)"] += 1


def _read_list(path: Path) -> list[Path]:
    table = read_table(path)
    if "path" not in table.columns:
        raise TableError(f"{path}: a list of videos needs a column 'path'; it has {list(table)}")
    empty = table.index[table["path"] == ""]
    if len(empty):
        raise TableError(f"{path}: row {int(empty[0]) + 1} has an empty path")
    return [path.parent / name for name in table["path"]]


def mark_duplicates(rows: list[dict[str, Any]]) -> None:
    """Give every later good row with the bytes of an earlier one the status `duplicate`."""
    kept: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["status"] != OK:
            continue
        first = kept.setdefault(row["sha256"], row)
        if first is not row:
            row["id"] = _identity(Path(row["path"]), row["path"])
            row["status"] = "duplicate"
            row["detail"] = f"same bytes as {first['path']} ({first['id']}), which is kept"


def _probe_row(path: Path) -> dict[str, Any]:
    """One row of VIDEOS for one file, whatever its state."""
    digest = ""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        legible = Path(os.fsencode(path).decode(errors="replace"))
        detail = f"{legible.name}: the file's name is not UTF-8, so no table can hold it; rename it"
        return _failed_row(legible, digest, "unreadable_name", detail)
    try:
        if path.is_file():
            digest = sha256_file(path)
        info = probe(path)
    except VideoError as error:
        return _failed_row(path, digest, error.reason, error.detail)
    except OSError as error:
        return _failed_row(path, digest, "unreadable", f"{path}: {error.strerror or error}")
    fps = 1.0 if info.kind == "image" else float(info.fps)
    return {
        "id": _identity(path, digest),
        "path": str(path),
        "kind": info.kind,
        "sha256": digest,
        "num_frames": info.num_frames,
        "fps": fps,
        "height": info.height,
        "width": info.width,
        "aspect_ratio": round(info.height / info.width, 6),
        "resolution": info.height * info.width,
        "duration": 0.0 if info.kind == "image" else round(info.duration_s, 6),
        "codec": info.codec,
        "status": OK,
        "detail": "",
    }


def _failed_row(path: Path, digest: str, reason: str, detail: str) -> dict[str, Any]:
    kind = "image" if path.suffix.lower() in IMAGE_SUFFIXES else "video"
    zeros = {"num_frames": 0, "fps": 0.0, "height": 0, "width": 0, "aspect_ratio": 0.0}
    return {
        **{"id": _identity(path, str(path)), "path": str(path), "kind": kind, "sha256": digest},
        **zeros,
        **{"resolution": 0, "duration": 0.0, "codec": "", "status": reason, "detail": detail},
    }


def _identity(path: Path, content: str) -> str:
    """A readable, unique id that is also a safe file name."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", path.stem).strip("-")[:_MAX_SLUG] or "file"
    return f"{slug}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
