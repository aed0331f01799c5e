"""Run a function over items in worker processes that may crash or hang without harm to the rest.

A decoder can die of a damaged file (segmentation fault, out of memory) or never come back. Each
item therefore has a time limit, each worker is a process of its own, and a lost worker costs its
item alone: a new one goes on with the rest.
"""

import contextlib
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from opensora.core.guard import Guard, fault_of

# forked from a server that has imported the function's module and done nothing else: as fast to
# replace as a fork, and nothing of the parent's threads comes along
_CONTEXT = get_context("forkserver")
_GRACE_S = 2.0  # a worker that is told to stop has so long to tidy up
_ORPHAN_GRACE_S = 10.0
_LONGEST_WAIT_S = 60.0
_CRASHED = "crashed"

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class WorkerFailure:
    """An item whose worker was lost.

    Attributes:
        reason: `crashed`, `timeout`, `out_of_memory`, or what the function raised (see
            `core.guard`); goes to the column `status`.
        detail: one sentence for people.
        trace: where an error came from that nobody expected.
    """

    reason: str
    detail: str
    trace: str = ""


def map_isolated(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int,
    timeout_s: Callable[[Item], float],
    stage: str = "workers",
) -> Generator[Result | WorkerFailure, None, None]:
    """Yield the results of all items in their order; see :func:`run_isolated`."""
    early: dict[int, Result | WorkerFailure] = {}
    following = 0
    for index, result in run_isolated(
        function, items, workers=workers, timeout_s=timeout_s, stage=stage
    ):
        early[index] = result
        while following in early:
            yield early.pop(following)
            following += 1


def run_isolated(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int,
    timeout_s: Callable[[Item], float],
    stage: str = "workers",
    any_known: bool = False,
) -> Iterator[tuple[int, Result | WorkerFailure]]:
    """Yield (index, result) of every item once, as they are ready.

    An item whose worker died is tried once more at the end, alone: it may have died of what its
    neighbours took.

    Args:
        function: a function of a module, or a `partial` of one; it runs in the workers.
        items: what to call it with, one at a time.
        workers: processes that live at the same time; each serves many items.
        timeout_s: seconds that an item may take.
        stage: who asks, for the log.
        any_known: results of other items are known from before, so that the stage is sound.

    Raises:
        RuntimeError: a worker could not start.
        Exception: what the function raises and is no item's fault ends the run; the other workers
            are stopped.
    """
    died: list[int] = []
    with Guard(stage) as guard:
        if any_known:
            guard.praise()
        for index, result in _pass(function, list(enumerate(items)), workers, timeout_s):
            if isinstance(result, WorkerFailure) and result.reason == _CRASHED:
                died.append(index)
                continue
            _count(guard, result)
            yield index, result
        for index in died:
            for _, result in _pass(function, [(index, items[index])], 1, timeout_s):
                _count(guard, result)
                yield index, result


def _count(guard: Guard, result: Any) -> None:
    if isinstance(result, WorkerFailure) and result.trace:
        guard.count(result.detail, result.trace)
    else:
        guard.praise()


def _pass(
    function: Callable[[Item], Result],
    items: Sequence[tuple[int, Item]],
    workers: int,
    timeout_s: Callable[[Item], float],
) -> Iterator[tuple[int, Result | WorkerFailure]]:
    """Give each numbered item to a worker once."""
    todo = iter(items)
    pool: list[_Worker[Item]] = []
    try:
        for _ in range(min(max(1, workers), len(items))):
            pool.append(_Worker(function))
            pool[-1].take(next(todo), timeout_s)
        while busy := [worker for worker in pool if worker.index is not None]:
            left_s = min(worker.deadline for worker in busy) - time.monotonic()
            wait([worker.link for worker in busy], min(max(0.0, left_s), _LONGEST_WAIT_S))
            for worker in busy:
                answer = worker.answer()
                if answer is None:
                    continue
                yield answer
                following = next(todo, None)
                if worker.is_lost and following is not None:
                    pool.remove(worker)
                    worker = _Worker(function)
                    pool.append(worker)
                if following is not None:
                    worker.take(following, timeout_s)
    finally:
        for worker in pool:
            worker.tell_to_stop()
        for worker in pool:
            worker.end()


class _Worker(Generic[Item]):
    """One process and what it is busy with; `index` is None while it is idle."""

    def __init__(self, function: Callable[[Item], Any]) -> None:
        home = function.func if isinstance(function, partial) else function
        _CONTEXT.set_forkserver_preload([home.__module__])
        self.link, theirs = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(target=_serve, args=(theirs, function), daemon=True)
        self.process.start()
        theirs.close()
        self.index: int | None = None
        self.deadline = float("inf")
        self.is_lost = False
        self._limit_s = 0.0
        self._has_started = False

    def take(self, numbered: tuple[int, Item], timeout_s: Callable[[Item], float]) -> None:
        """Send an item; its time runs from when the worker is up."""
        self.index, item = numbered
        self._limit_s = timeout_s(item)
        self.deadline = time.monotonic() + self._limit_s if self._has_started else float("inf")
        with contextlib.suppress(BrokenPipeError):  # it died: `answer` tells
            self.link.send(item)

    def answer(self) -> tuple[int, Any] | None:
        """(index, result) of the item in hand if it is decided by now."""
        assert self.index is not None  # only busy workers are asked
        try:
            if not self.link.poll():
                return self._time_out() if time.monotonic() >= self.deadline else None
            kind, value = self.link.recv()
        except (EOFError, OSError):
            return self._crash()
        if kind == "started":
            self._has_started = True
            self.deadline = time.monotonic() + self._limit_s
            return None
        if kind == "raised":
            raise value
        index, self.index = self.index, None
        return index, value

    def tell_to_stop(self) -> None:
        """Let it go: an idle worker sees the closed pipe, a busy one is interrupted."""
        self.link.close()
        if self.index is not None:
            self._signal(signal.SIGTERM)

    def end(self) -> None:
        """Wait for the process, then for nothing."""
        self.process.join(_GRACE_S)
        self._signal(signal.SIGKILL)
        self.process.join()

    def _time_out(self) -> tuple[int, WorkerFailure]:
        failure = WorkerFailure(
            "timeout", f"not done after {self._limit_s:.0f} s, so it was given up"
        )
        return self._lose(failure)

    def _crash(self) -> tuple[int, WorkerFailure]:
        self.process.join(_GRACE_S)
        code = self.process.exitcode
        if not self._has_started:
            raise RuntimeError(f"a worker process ended with code {code} before its first item")
        ending = f"code {code}"
        if code is not None and code < 0:
            ending = signal.Signals(-code).name
        return self._lose(WorkerFailure(_CRASHED, f"the process at work on it ended with {ending}"))

    def _lose(self, failure: WorkerFailure) -> tuple[int, WorkerFailure]:
        assert self.index is not None
        index = self.index
        self.tell_to_stop()
        self.index, self.is_lost = None, True
        self.end()
        return index, failure

    def _signal(self, number: int) -> None:
        """Signal the process and its children; it leads a group of its own."""
        if self.process.pid is None:
            return
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            if self.process.is_alive():  # not yet the leader of its group
                os.kill(self.process.pid, number)


def _serve(link: Connection, function: Callable[[Any], Any]) -> None:
    """Work in the child: items come in, results go out, until the parent closes the pipe."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what the keyboard means
    signal.signal(signal.SIGTERM, _exit_at_once)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        link.send(("started", None))
        while True:
            item = link.recv()
            link.send(_call(function, item))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _call(function: Callable[[Any], Any], item: Any) -> tuple[str, Any]:
    try:
        return "done", function(item)
    except MemoryError:
        return "done", WorkerFailure("out_of_memory", "it needs more memory than there is")
    except BaseException as error:
        trace = traceback.format_exc()
        try:
            fault = fault_of(error)
        except Exception:
            error.add_note("in a worker process:\n" + trace)
            return "raised", error
        return "done", WorkerFailure(fault.reason, fault.detail, "" if fault is error else trace)


def _exit_at_once(number: int, frame: object) -> None:
    """Unwind, so that half-written files are removed."""
    raise SystemExit(128 + number)


def _end_with_parent() -> None:
    """Stop when the parent is gone, even if the function never comes back."""
    parent = parent_process()
    assert parent is not None  # this runs in a child
    wait([parent.sentinel])
    os.killpg(0, signal.SIGTERM)
    time.sleep(_ORPHAN_GRACE_S)
    os.killpg(0, signal.SIGKILL)
