"""Whether the nodes of a cluster see a folder, by the kind of its file system; and what is free."""

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from opensora.config.run_sources import inputs_of
from opensora.core.terminal import short
from opensora.dag.cluster.line import Line

_MOUNTS = Path("/proc/mounts")
_SHARED = frozenset(
    {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb3", "panfs", "wekafs", "afs"}
    | {"9p", "gfs2", "ocfs2", "orangefs", "pvfs2", "glusterfs", "virtiofs", "daos", "vastnfs"}
)
_OF_A_MACHINE = frozenset({"tmpfs", "ramfs", "overlay"})
# how much of the videos' bytes the clips take at most: a copy keeps them
_CLIPS_OF_VIDEOS = 1.0


def examine_places(mounts: Path = _MOUNTS) -> list[Line]:
    """Whether the folder of the run and the environment lie where nodes see them."""
    places = {"project folder": Path.cwd(), "environment": Path(sys.prefix)}
    return [_place(name, folder, mounts) for name, folder in places.items()]


def file_system(folder: Path, mounts: Path = _MOUNTS) -> tuple[str, str]:
    """Kind of the file system that a folder lies on, and where it is mounted; "" if not known."""
    real, best = os.path.realpath(folder), ("", "")
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return best
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ")
        inside = point == "/" or real == point or real.startswith(f"{point}/")
        if inside and len(point) >= len(best[1]):
            best = (fields[2], point)
    return best


def video_bytes(names: Iterable[str]) -> int:
    """Bytes of all files in the folders and files that a run reads; globs and lists count as 0."""
    total = 0
    for name in names:
        if os.path.isfile(name):
            total += os.path.getsize(name)
        for root, _, files in os.walk(name):
            for file in files:
                path = os.path.join(root, file)
                if os.path.isfile(path):
                    total += os.path.getsize(path)
    return total


def examine_disk(config: Mapping[str, Any], forecast: float | None) -> Line:
    """Whether there is room for what a run makes.

    Args:
        config: of the workflow, checked.
        forecast: bytes of latents and embeddings of all stages; None where no manifest is there.
    """
    folder = Path("results") if Path("results").is_dir() else Path()
    free = shutil.disk_usage(folder).free
    clips = _CLIPS_OF_VIDEOS * video_bytes(inputs_of(config))
    wanted = clips + (forecast or 0.0)
    parts = [f"{short(clips, 'B')} of clips at most"]
    if forecast is None:
        parts.append("latents and embeddings are known once there is a manifest (curate_all)")
    else:
        parts.append(f"{short(forecast, 'B')} of latents and embeddings")
    text = f"{', '.join(parts)}; {short(free, 'B')} are free (a quota may be less)"
    if wanted <= free:
        return Line("ok" if forecast is not None else "note", "disk", text)
    return Line("mend", "disk", f"{text}; free some, or let results be a link to a larger disk")


def _place(name: str, folder: Path, mounts: Path) -> Line:
    kind, point = file_system(folder, mounts)
    where = f"{folder} on {kind or 'an unknown file system'} ({point or '?'})"
    if kind in _SHARED or kind.startswith("fuse."):
        return Line("ok", name, f"{where}, which nodes can share")
    temporary = kind in _OF_A_MACHINE or point == "/tmp" or str(folder).startswith("/tmp/")
    if temporary:
        return Line(
            "mend", name, f"{where} is seen by this machine alone; move it to your home or project"
        )
    return Line(
        "note",
        name,
        f"{where}: a disk of this machine, unless nodes mount the same; --submit asks one",
    )
