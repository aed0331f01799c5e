"""What is raised over a row is its reason, and what is no row's fault is raised on."""

import errno
import logging
from collections.abc import Callable

import pytest

from opensora.core.errors import MAX_DETAIL, OpenSoraError, TableError, VideoError, shown
from opensora.core.guard import MANY, UNEXPECTED, Guard, call_each, fault_of


class PanicException(BaseException):
    """As libraries in Rust name what they raise; no `Exception`."""


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


def raising(error: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise error

    return function


@pytest.mark.parametrize("error", [KeyError("a"), RecursionError(), PanicException("index")])
def test_an_unexpected_error_is_a_reason(error: BaseException) -> None:
    fault = Guard("stage").call(raising(error))
    assert isinstance(fault, VideoError)
    assert fault.reason == UNEXPECTED
    assert fault.detail.startswith(type(error).__name__)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        KeyboardInterrupt(),
        SystemExit(),
        TableError("a column is missing"),
        OutOfMemoryError("of the GPU"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system"),
        RuntimeError("[enforce fail] PytorchStreamWriter failed writing file"),
    ],
)
def test_what_is_no_rows_fault_stops(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        Guard("stage").call(raising(error))
    assert caught.value is error


def test_a_known_fault_stays_and_is_not_counted() -> None:
    guard, known = Guard("stage"), VideoError("corrupt", "cut off")
    assert guard.call(raising(known)) is known
    assert not guard.kinds


def test_unexpected_kinds_are_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "opensora"), Guard("stage") as guard:
        for error in (KeyError("a"), ValueError("b"), KeyError("c")):
            guard.call(raising(error))
        guard.call(lambda: None)
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 1
    assert "rows=3 KeyError=2 ValueError=1" in told[0].getMessage()
    assert "Traceback" not in told[0].getMessage()
    traces = [record.getMessage() for record in caplog.records if record.levelno == logging.DEBUG]
    assert len(traces) == 3
    assert all("Traceback" in trace for trace in traces)


def test_a_batch_with_one_bad_item_costs_that_item() -> None:
    def double(items: list[int]) -> list[float]:
        return [6 / item for item in items]

    guard = Guard("stage")
    first, bad, last = call_each(guard, double, [1, 0, 2])
    assert (first, last) == (6, 3)
    assert isinstance(bad, VideoError)
    assert guard.kinds == {"ZeroDivisionError": 1}


def test_a_batch_ends_with_a_full_disk() -> None:
    def write(items: list[int]) -> list[int]:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        call_each(Guard("stage"), write, [1])


def test_a_reason_is_one_line_of_bounded_length() -> None:
    fault = fault_of(ValueError("a\n\x1b[31m\u202eb\0" + "x" * 10_000))
    assert fault.detail.isprintable()
    assert fault.detail.startswith(r"ValueError: a\x0a\x1b[31m\u202eb\x00xxx")
    assert len(fault.detail) <= MAX_DETAIL + 60
    assert shown("x" * MAX_DETAIL) == "x" * MAX_DETAIL
    assert shown("x" * (MAX_DETAIL + 1)).endswith("...")


def test_errors_for_people_are_raised_on() -> None:
    with pytest.raises(OpenSoraError, match="mend it"):
        fault_of(OpenSoraError("mend it"))


def test_a_stage_of_which_nothing_comes_is_an_error_and_no_table_of_reasons() -> None:
    def broken(_: int) -> int:
        raise ImportError("no such library")

    def stage() -> None:
        with Guard("stage") as guard:
            for row in range(MANY):
                guard.call(broken, row)

    with pytest.raises(OpenSoraError, match=r"stage: none of 10 .* ImportError: no such library"):
        stage()
    with Guard("stage") as guard:  # one that is good, or bad in a known way, is enough
        for row in range(MANY):
            guard.call(broken, row)
        guard.call(raising(VideoError("corrupt", "cut off")))
    with Guard("stage") as guard:  # of a few rows nobody can tell: they get their reasons
        for row in range(MANY - 1):
            guard.call(broken, row)
    with Guard("stage") as guard:  # nor of many that fail in different ways
        for row in range(MANY):
            guard.call(broken, row)
        guard.call(raising(KeyError("a")))
