"""One row of the table of videos for one file, whatever its state; runs in worker processes."""

import os
from pathlib import Path
from typing import Any

from opensora.core.errors import VideoError
from opensora.core.io import sha256_file
from opensora.curation.ingest.discovery import legible_path
from opensora.media.images import is_image
from opensora.media.probe import probe
from opensora.tables.columns import OK
from opensora.tables.manifest import make_id

SLOWEST_READ = 5e6  # bytes a second that hashing and counting frames manage at least


def probe_row(path: str) -> dict[str, Any]:
    """Probe and hash a file.

    Returns:
        The columns of VIDEOS without the licence.
    """
    file = Path(path)
    digest = ""
    if path != legible_path(path):
        name = Path(legible_path(path)).name
        detail = f"{name}: the file's name is not UTF-8, so no table can hold it; rename it"
        return failed_row(legible_path(path), "unreadable_name", detail)
    try:
        if file.is_file():
            digest = sha256_file(file)
        info = probe(file)
    except VideoError as error:
        return failed_row(path, error.reason, error.detail, digest)
    except OSError as error:
        return failed_row(path, "unreadable", f"{file.name}: {error.strerror or error}", digest)
    still = info.kind == "image"
    return {
        "id": make_id(path, digest),
        "path": path,
        "kind": info.kind,
        "sha256": digest,
        "num_frames": info.num_frames,
        "fps": 1.0 if still else float(info.fps),
        "height": info.height,
        "width": info.width,
        "aspect_ratio": round(info.height / info.width, 6),
        "resolution": info.height * info.width,
        "duration": 0.0 if still else round(info.duration_s, 6),
        "codec": info.codec,
        "pixel_format": info.pixel_format,
        "rotation": info.rotation,
        "source_height": info.source_height,
        "source_width": info.source_width,
        "sar": round(float(info.pixel), 6),
        "variable_frame_rate": int(info.is_variable),
        "hdr": int(info.hdr),
        "interlaced": int(info.interlaced),
        "pulldown": int(info.pulldown),
        "has_audio": int(info.has_audio),
        "status": OK,
        "detail": "",
    }


def failed_row(path: str, reason: str, detail: str, digest: str = "") -> dict[str, Any]:
    """The row of a file that can not be used; its id comes from its name."""
    return {
        "id": make_id(path, path),
        "path": path,
        "kind": "image" if is_image(Path(path)) else "video",
        "sha256": digest,
        **{"num_frames": 0, "fps": 0.0, "height": 0, "width": 0, "aspect_ratio": 0.0},
        **{"resolution": 0, "duration": 0.0, "codec": "", "pixel_format": ""},
        **{"rotation": 0, "source_height": 0, "source_width": 0, "sar": 0.0},
        **{"variable_frame_rate": 0, "hdr": 0, "interlaced": 0, "pulldown": 0, "has_audio": 0},
        **{"status": reason, "detail": detail},
    }


def probe_limit_s(path: str, timeout_s: float) -> float:
    """Seconds that probing a file may take."""
    try:
        size = os.path.getsize(path)
    except OSError:
        size = 0  # it has gone: probing says so
    return timeout_s + size / SLOWEST_READ
