"""The files of a checkpoint: each worker writes its own, the main one makes a checkpoint of them.

They are written into a hidden folder, which gets its name last: a checkpoint is whole or absent.
"""

import logging
import os
import shutil
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from opensora.core.io import share_rights, write_json
from opensora.models.weights.parts import Part, part_name, write_parts
from opensora.training.checkpoint import (
    COUNTERS,
    KEEP,
    METRICS,
    hashes_of,
    sealed,
    step_folder,
    step_folders,
)
from opensora.training.state.snapshot import Snapshot

log = logging.getLogger(__name__)

Written = dict[str, tuple[int, str]]  # name of a file -> its bytes and its hash


def fresh_folder(root: Path, step: int) -> Path:
    """Make the hidden folder that becomes the checkpoint of a step.

    Raises:
        OSError: it can not be made.
    """
    folder = root / f".{step_folder(root, step).name}.{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    return folder


def write_files(folder: Path, snapshot: Snapshot, rank: int, world_size: int) -> Written:
    """Write what one worker has of a checkpoint; its files are on the disk when it returns."""
    jobs: dict[Path, Mapping[str, Part]] = {}
    others: list[Path] = []
    for name, parts in snapshot.tensors.items():
        if name in snapshot.apart:
            jobs[folder / part_name(name, rank, world_size)] = parts
        elif rank == 0:
            jobs[folder / name] = parts
    if rank == 0 and snapshot.metrics is not None:
        (folder / METRICS).write_text(snapshot.metrics, encoding="utf-8")
        others = [folder / METRICS]
    with ThreadPoolExecutor(max_workers=3) as pool:
        list(pool.map(write_parts, jobs.keys(), jobs.values()))
    files = [*jobs, *others]
    for path in files:
        share_rights(path)
    hashes = hashes_of(files)
    for path in files:
        _sync(path)
    return {path.name: (path.stat().st_size, hashes[path.name]) for path in files}


def finish(root: Path, folder: Path, snapshot: Snapshot, written: Written) -> Path:
    """Make a checkpoint of what all workers have written, and remove all but the newest two.

    Args:
        root: of the checkpoints.
        folder: the hidden one.
        snapshot: of the main worker.
        written: by all workers.

    Returns:
        The checkpoint.
    """
    fields = {**asdict(snapshot.counters), "optimizer": snapshot.optimizer}
    write_json(folder / COUNTERS, sealed(fields, written))
    _sync(folder / COUNTERS)
    _sync(folder)
    target = step_folder(root, snapshot.counters.step)
    former = folder.with_name(f"{folder.name}.former")
    if target.is_dir():  # of the same step, as where a run had been ended by hand
        os.replace(target, former)
    os.replace(folder, target)
    _sync(root)
    shutil.rmtree(former, ignore_errors=True)
    for _, old in step_folders(root)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    log.info("checkpoint step=%d folder=%s", snapshot.counters.step, target)
    return target


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk; some file systems can not say it of a folder."""
    number = os.open(path, os.O_RDONLY)
    try:
        with suppress(*([OSError] if path.is_dir() else [])):
            os.fsync(number)
    finally:
        os.close(number)
