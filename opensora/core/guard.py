"""Whatever a worker raises is its row's reason; what is no row's fault stops the stage.

One place for all stages: `Guard` where rows are worked on in this process, `fault_of` in worker
processes (`curation.isolation`). What nobody expected is counted and told in one line at the end;
its tracebacks go to the file of `--log-file`.
"""

import logging
import traceback
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from opensora.core.errors import OpenSoraError, VideoError
from opensora.core.io import is_of_writing

log = logging.getLogger(__name__)

UNEXPECTED = "unexpected_error"
MANY = 10  # rows that all fail alike are no accident; fewer may be odd files
Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")
# of the machine, by the names of classes, because this package loads no torch
_OF_THE_MACHINE = frozenset({"OutOfMemoryError", "AcceleratorError", "CudaError"})
_PANIC = "PanicException"  # of libraries in Rust; no Exception, so that nobody takes it for one


def fault_of(error: BaseException) -> VideoError:
    """What the row says that was worked on when an error came.

    Raises:
        BaseException: the error itself, where it is no row's fault: the keyboard, no memory, a full
            disk, and what the user can mend for the whole stage.
    """
    if isinstance(error, VideoError):
        return error
    if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
        raise error
    if isinstance(error, MemoryError | OpenSoraError) or is_of_writing(error):
        raise error
    if any(kind.__name__ in _OF_THE_MACHINE for kind in type(error).__mro__):
        raise error
    text = str(error)
    return VideoError(UNEXPECTED, f"{type(error).__name__}{': ' if text else ''}{text}")


class Guard:
    """Counts what nobody expected in a stage, and tells it when the stage ends.

    Attributes:
        kinds: name of a class of errors -> how many rows it cost.
    """

    def __init__(self, stage: str) -> None:
        """Begin with none."""
        self.stage = stage
        self.kinds: Counter[str] = Counter()
        self._last = ""
        self._any_good = False

    def __enter__(self) -> Self:
        """Begin the stage."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Tell what came.

        Raises:
            OpenSoraError: all of many rows failed alike: the installation is broken, not they.
        """
        self.tell()
        is_alike = len(self.kinds) == 1 and self.kinds.total() >= MANY
        if kind is None and is_alike and not self._any_good:
            raise OpenSoraError(
                f"{self.stage}: none of {self.kinds.total()} rows could be worked on (the last:"
                f" {self._last}); that looks like the installation and not like the rows:"
                " --log-file FILE keeps the tracebacks"
            )

    def call(
        self,
        function: Callable[Arguments, Result],
        *args: Arguments.args,
        **settings: Arguments.kwargs,
    ) -> Result | VideoError:
        """The result of a call, or the reason why there is none.

        Raises:
            BaseException: what is no row's fault, see :func:`fault_of`.
        """
        try:
            result = function(*args, **settings)
        except BaseException as error:
            return self.fault(error)
        self.praise()
        return result

    def fault(self, error: BaseException) -> VideoError:
        """The reason of a row, counted; see :func:`fault_of`."""
        found = fault_of(error)
        if found is error:
            self.praise()
        else:
            trace = "".join(traceback.format_exception(error))
            self.count(found.detail, trace)
        return found

    def count(self, detail: str, trace: str) -> None:
        """Note an error that nobody expected, of a worker process as well."""
        self.kinds[detail.partition(":")[0]] += 1
        self._last = detail
        log.debug("%s %s=%s\n%s", self.stage, UNEXPECTED, detail, trace)

    def praise(self) -> None:
        """Note that a row could be worked on, be it for a reason that is known."""
        self._any_good = True

    def tell(self) -> None:
        """One line about what nobody expected; nothing where there was nothing."""
        if self.kinds:
            kinds = " ".join(f"{name}={count}" for name, count in self.kinds.most_common())
            log.warning(
                "%s %s rows=%d %s; the rows say what came, --log-file FILE keeps the tracebacks",
                *(self.stage, UNEXPECTED, self.kinds.total(), kinds),
            )


def call_each(
    guard: Guard, function: Callable[[list[Any]], list[Result]], items: list[Any]
) -> list[Result | VideoError]:
    """Results of a function of many items; where it raises, the items are given one by one."""
    together = guard_quietly(function, items)
    if together is not None:
        if items:
            guard.praise()
        return list(together)
    results: list[Result | VideoError] = []
    for item in items:
        one = guard.call(function, [item])
        results.append(one if isinstance(one, VideoError) else one[0])
    return results


def guard_quietly(
    function: Callable[[list[Any]], list[Result]], items: list[Any]
) -> list[Result] | None:
    """The results of all items, or None where one of them made it raise."""
    try:
        return function(items)
    except BaseException as error:
        fault_of(error)
        return None
