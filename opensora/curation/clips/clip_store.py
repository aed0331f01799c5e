"""Clip files in a folder that all runs share, under an address that says how each was made.

    {recipe[:2]}/{recipe}.mp4, .png   the clips
    facts/{source[:2]}/{source}.json  sha256 and bytes of those of one source, by recipe
    .scratch-*                        what a job has not finished

A source is the sha256 of a video or image. Nobody declares these files, so nobody deletes them
but who sweeps the store; a clip that is there and whole is never made again.
"""

import logging
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opensora.core.errors import OpenSoraError
from opensora.core.io import put_first, read_json, sha256_file, write_json
from opensora.curation.clips.clip_files import is_finished

log = logging.getLogger(__name__)

ABANDONED_S = 24 * 3600.0  # a job that wrote nothing for so long was killed
_SCRATCH = ".scratch-"


def address(store: Path, recipe: str, suffix: str) -> Path:
    """Where the clip of a recipe is, or will be."""
    return store / recipe[:2] / f"{recipe}{suffix}"


@contextmanager
def scratch_of_job(store: Path) -> Iterator[Path]:
    """Name a folder for what a job has not finished, and remove it in the end.

    It lies in the store, because a file can be put in place at once only on its own file system,
    and is the job's alone. Those of jobs that were killed with all they had are removed too.
    """
    _remove_abandoned(store)
    scratch = store / f"{_SCRATCH}{uuid.uuid4().hex[:16]}"
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class ClipStore:
    """The clips of one source.

    Args:
        store: folder of the store.
        source: sha256 of the video or image.
    """

    def __init__(self, store: Path, source: str) -> None:
        self._place = store / "facts" / source[:2] / f"{source}.json"
        self._facts = self._read()
        self._new: dict[str, dict[str, Any]] = {}
        self._damaged: set[Path] = set()

    def find(self, path: Path) -> str:
        """Look a clip up by its address.

        One whose size is on record is believed without being opened; one without a record, whose
        job was killed before it wrote that, is looked into and hashed once.

        Returns:
            The clip's sha256; "" where it has to be made, because it is missing or damaged.

        Raises:
            OpenSoraError: the store may not be read.
        """
        try:
            size = path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as error:
            raise OpenSoraError(
                f"{path}: could not be looked up ({error.strerror}); give the right to read the"
                " store, or name another one"
            ) from error
        known = self._facts.get(path.stem)
        if known is not None and known["bytes"] == size:
            return str(known["sha256"])
        if known is None and is_finished(path, path.stem):
            return self._learn(path)
        log.warning("split_clips damaged clip is made anew path=%s", path)
        self._damaged.add(path)
        return ""

    def put(self, made: Path, path: Path) -> str:
        """Take a finished file in; returns the sha256 of what stands at its address now.

        That is another job's file, if it was earlier: the same frames, but from another ffmpeg
        perhaps other bytes.

        Raises:
            OpenSoraError: the disk is full or the place is not writable.
        """
        put_first(made, path, replace=path in self._damaged)
        return self._learn(path)

    def save(self) -> None:
        """Write down what was learnt; what another job wrote at this moment is learnt again."""
        if self._new:
            write_json(self._place, {**self._read(), **self._new})

    def _learn(self, path: Path) -> str:
        fact = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        self._facts[path.stem] = self._new[path.stem] = fact
        return str(fact["sha256"])

    def _read(self) -> dict[str, dict[str, Any]]:
        """Facts by recipe; a damaged file is named, and its facts are found out again."""
        if not self._place.exists():
            return {}
        try:
            facts = read_json(self._place)
            return {
                recipe: {"bytes": int(fact["bytes"]), "sha256": str(fact["sha256"])}
                for recipe, fact in facts.items()
            }
        except (OpenSoraError, AttributeError, KeyError, TypeError, ValueError) as error:
            log.warning("store file left out path=%s error=%s", self._place, error)
            return {}


def _remove_abandoned(store: Path) -> None:
    """Remove what jobs that were killed left behind; never what one is writing."""
    for scratch in store.glob(f"{_SCRATCH}*"):
        try:
            last = max(path.stat().st_mtime for path in (scratch, *scratch.rglob("*")))
        except OSError:
            continue  # it is being written, or removed
        if time.time() - last > ABANDONED_S:
            log.info("split_clips leftovers of a killed job removed path=%s", scratch)
            shutil.rmtree(scratch, ignore_errors=True)
