"""A lost worker costs its item alone. `operator.call` lets every item be a behaviour of its own."""

import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from opensora.core.errors import TableError
from opensora.curation.isolation import WorkerFailure, map_isolated, run_isolated
from opensora.tables.io import read_table

DIE = partial(signal.raise_signal, signal.SIGSEGV)
LEAVE = partial(os._exit, 3)
HANG = partial(time.sleep, 600)


def run(
    items: list[Callable[[], Any]], *, workers: int = 2, late: Callable[[], Any] | None = None
) -> list[Any]:
    """Results of all items; `late` has little time, the others what a busy machine may need."""

    def limit_s(item: Callable[[], Any]) -> float:
        return 0.5 if item is late else 60.0

    return list(map_isolated(operator.call, items, workers=workers, timeout_s=limit_s))


def test_results_come_in_the_order_of_the_items() -> None:
    items = [partial(time.sleep, 0.4), *(partial(abs, -k) for k in range(30))]
    assert run(items, workers=3) == [None, *range(30)]


def test_no_item_starts_no_worker() -> None:
    assert run([]) == []


def test_results_can_be_had_as_they_are_ready(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    last = partial(subprocess.call, ["sh", "-c", f"until test -e '{mark}'; do sleep 0.05; done"])
    items = [last, *(partial(abs, -k) for k in range(5)), partial(mark.touch)]
    done = list(run_isolated(operator.call, items, workers=2, timeout_s=lambda _: 60.0))
    assert done[-1] == (0, 0)
    assert sorted(done) == [(0, 0), *((k + 1, k) for k in range(5)), (6, None)]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_crash_costs_its_own_item(workers: int) -> None:
    results = run(
        [partial(abs, -1), DIE, partial(abs, -2), LEAVE, partial(abs, -3)], workers=workers
    )
    assert [results[k] for k in (0, 2, 4)] == [1, 2, 3]
    crash, leave = results[1], results[3]
    assert isinstance(crash, WorkerFailure)
    assert (crash.reason, "SIGSEGV" in crash.detail) == ("crashed", True)
    assert (leave.reason, "code 3" in leave.detail) == ("crashed", True)


def test_an_item_without_end_is_given_up() -> None:
    results = run([HANG, partial(abs, -1), HANG, partial(abs, -2)], workers=1, late=HANG)
    assert results[1::2] == [1, 2]
    assert [result.reason for result in results[::2]] == ["timeout", "timeout"]


def test_a_worker_that_ignores_a_polite_signal_is_killed() -> None:
    deaf = partial(subprocess.run, ["sh", "-c", "trap '' TERM; kill -STOP $PPID; sleep 60"])
    assert run([deaf, partial(abs, -1)], workers=1, late=deaf)[1] == 1


def test_each_item_has_its_own_limit() -> None:
    items = [0.0, 30.0, 0.0]
    results = list(
        map_isolated(time.sleep, items, workers=1, timeout_s=lambda item: 0.5 if item else 60.0)
    )
    assert [isinstance(result, WorkerFailure) for result in results] == [False, True, False]


def test_memory_that_is_not_there_fails_the_item() -> None:
    results = run([partial(bytes, 2**62), partial(abs, -1)], workers=1)
    assert results[0].reason == "out_of_memory"
    assert results[1] == 1


def test_an_unexpected_error_costs_its_item_and_keeps_where_it_was_raised() -> None:
    failure, good = run([partial(operator.truediv, 1, 0), partial(abs, -1)])
    assert (failure.reason, failure.detail) == (
        "unexpected_error",
        "ZeroDivisionError: division by zero",
    )
    assert "Traceback" in failure.trace
    assert good == 1


def test_a_full_disk_ends_the_run_and_says_where_it_was_raised(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        run([partial(Path("/dev/full").write_text, "more than fits"), HANG])
    assert any("in a worker process" in note for note in caught.value.__notes__)


def test_an_item_whose_worker_died_is_tried_once_more_alone(tmp_path: Path) -> None:
    mark = tmp_path / "tried"
    once = f"test -e '{mark}' || {{ touch '{mark}'; kill -KILL $PPID; }}; exit 7"
    again = partial(subprocess.call, ["sh", "-c", once])
    assert run([again, partial(abs, -1)]) == [7, 1]


def test_errors_for_people_keep_their_sentence(tmp_path: Path) -> None:
    with pytest.raises(TableError) as caught:
        run([partial(read_table, tmp_path / "none.csv")])
    assert str(caught.value) == f"{tmp_path}/none.csv: no such table"


def test_children_of_a_lost_worker_end_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    busy = partial(
        subprocess.run, ["sh", "-c", f"while true; do date > '{mark}'; sleep 0.05; done"]
    )
    assert run([busy], late=busy)[0].reason == "timeout"
    mark.unlink(missing_ok=True)
    time.sleep(0.3)
    assert not mark.exists()


def test_workers_end_when_the_results_are_no_longer_wanted(tmp_path: Path) -> None:
    tell = partial(Path.write_text, tmp_path / "pid", "")
    results = map_isolated(
        operator.call, [os.getpid, HANG, tell], workers=1, timeout_s=lambda _: 60.0
    )
    pid = next(results)
    assert isinstance(pid, int)
    results.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not (tmp_path / "pid").exists()


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import operator, os, time; from functools import partial\n"
        "from opensora.curation.isolation import map_isolated\n"
        "items = [os.getpid, partial(time.sleep, 600)]\n"
        "results = map_isolated(operator.call, items, workers=1, timeout_s=lambda _: 900.0)\n"
        "print(next(results), flush=True)\n"
        "next(results)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)
    parent.kill()
    parent.wait()
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the worker still runs")
