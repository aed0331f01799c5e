"""Writes checkpoints beside the steps: one at a time, by a thread of each worker.

The threads have a group of their own, so that what they say to each other never mixes with the
gradients. A checkpoint gets its name once all have written their files. What went wrong is said
when the next one begins, or before the run ends.
"""

import logging
import shutil
import threading
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch.distributed as dist

from opensora.acceleration.workers import COLLECTIVE_S, Workers
from opensora.core.errors import OpenSoraError
from opensora.core.io import is_of_writing, not_written
from opensora.core.lock import RunLock
from opensora.training.checkpoint import step_folder
from opensora.training.start import TrainingRun
from opensora.training.state.files import Written, finish, fresh_folder, write_files
from opensora.training.state.snapshot import HostCopies, Snapshot

log = logging.getLogger(__name__)

Item = TypeVar("Item")


class Saver:
    """Writes the checkpoints of a run. Leaving its context waits for the one that is written.

    Args:
        root: folder of the checkpoints.
        workers: of the run; all of them call the same methods.
        lock: on the folder, on the main worker.
    """

    def __init__(self, root: Path, workers: Workers, lock: RunLock | None) -> None:
        self._root, self._workers, self._lock = root, workers, lock
        self._copies = HostCopies()
        self._group: dist.ProcessGroup | None = None
        self._thread: threading.Thread | None = None
        self._reserving: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> "Saver":
        """Nothing is written yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the checkpoint that is written; its fault is only logged beside another one."""
        if kind is None:
            self.wait()
            return
        for thread in (self._reserving, self._thread):
            if thread is not None:
                thread.join()
        if self._error is not None and str(self._error):
            log.warning("checkpoint_failed reason='%s'", self._error)

    def get_ready(self, run: TrainingRun) -> None:
        """Get what the first checkpoint needs, so that its step waits no longer than later ones.

        A thread gets the memory, once: a second copy of the state beside the steps.

        Args:
            run: after a step, when all of the optimizer's state is there; asked again, nothing
                happens.
        """
        if self._reserving is not None or self._thread is not None:
            return
        self._join_group()
        likes = self._copies.likes(run)
        self._reserving = threading.Thread(
            target=self._copies.reserve, args=(likes,), name="reserve", daemon=True
        )
        self._reserving.start()

    def start(self, run: TrainingRun, *, finished: bool = False) -> None:
        """Copy a run and begin to write it, once the checkpoint before it is written.

        Args:
            run: at the same step on all workers.
            finished: it has reached its end.

        Raises:
            OpenSoraError: the one before could not be written, or another run has taken the folder
                over.
        """
        self.wait()
        self._join_group()
        if self._reserving is not None:
            self._reserving.join()
        folder = self._workers.first(lambda: self._fresh(run.counters.step))
        snapshot = self._copies.take(run, finished=finished)
        self._thread = threading.Thread(
            target=self._write, args=(folder, snapshot), name="checkpoint", daemon=True
        )
        self._thread.start()

    def wait(self) -> None:
        """Wait until the last checkpoint is written, on all workers.

        Raises:
            OpenSoraError: it could not be; the main worker says why.
        """
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _join_group(self) -> None:
        """Make the group of the threads, where there are several workers."""
        if self._group is None and self._workers.world_size > 1:
            timeout = timedelta(seconds=COLLECTIVE_S)
            self._group = dist.new_group(backend="gloo", timeout=timeout)

    def _fresh(self, step: int) -> Path:
        """The folder to write to, on the main worker."""
        if self._lock is not None:
            self._lock.check()
        try:
            return fresh_folder(self._root, step)
        except OSError as error:
            raise not_written(error, step_folder(self._root, step)) from error

    def _write(self, folder: Path, snapshot: Snapshot) -> None:
        try:
            self._write_together(folder, snapshot)
        except BaseException as error:  # the next wait raises it
            self._error = error

    def _write_together(self, folder: Path, snapshot: Snapshot) -> None:
        workers, target = self._workers, step_folder(self._root, snapshot.counters.step)
        # 1. the files of each worker
        written: Written = {}
        own: Exception | None = None
        try:
            written = write_files(folder, snapshot, workers.rank, workers.world_size)
        except Exception as error:
            own = error
        # 2. the checkpoint of all of them; none leaves before it stands
        told = self._gather((written, _in_words(own, target)))
        fault = next((words for _, words in told if words), "")
        if workers.is_main and not fault:
            try:
                if self._lock is not None:
                    self._lock.check()
                every = {name: entry for files, _ in told for name, entry in files.items()}
                finish(self._root, folder, snapshot, every)
            except Exception as error:
                own = error
        fault = fault or self._gather(_in_words(own, target))[0]
        if workers.is_main and fault:
            shutil.rmtree(folder, ignore_errors=True)
        if own is not None and not (isinstance(own, OSError | OpenSoraError) or is_of_writing(own)):
            raise own
        if fault:
            raise OpenSoraError(fault if workers.is_main else "")

    def _gather(self, item: Item) -> list[Item]:
        """One item from each worker's thread, in rank order."""
        if self._group is None:
            return [item]
        items: list[Item | None] = [None] * self._workers.world_size
        with self._workers.meeting():
            dist.all_gather_object(items, item, group=self._group)
        return items  # type: ignore[return-value]


def _in_words(error: Exception | None, target: Path) -> str:
    """A fault of writing as a sentence; nothing where there is none."""
    if isinstance(error, OSError) or (error is not None and is_of_writing(error)):
        return str(not_written(error, target))
    return "" if error is None else str(error) or type(error).__name__
