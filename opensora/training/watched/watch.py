"""Watching a run: stuck, or not learning."""

import faulthandler
import logging
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType

log = logging.getLogger(__name__)

STALL_S = 900.0  # a step that takes longer is reported
FIRST_STEPS = 100
LATE_STEPS = 20  # the last of the first steps are compared
LEARNED = (
    0.98  # a model whose loss is above this share of "always predict zero" has learned nothing
)


class Watchdog:
    """Logs the step, its ids and all stacks when a step takes longer than `limit_s`."""

    def __init__(self, limit_s: float = STALL_S) -> None:
        self._limit_s = limit_s
        self._entered = threading.Event()
        self._closed = False
        self._what: tuple[int, Sequence[str]] = (0, ())
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        """Start watching."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop watching."""
        self._closed = True
        self._entered.set()
        self._thread.join()

    def enter(self, step: int, ids: Sequence[str]) -> None:
        """Say that a step begins."""
        self._what = (step, ids)
        self._entered.set()

    def _watch(self) -> None:
        while not self._closed:
            started = time.monotonic()
            if not self._entered.wait(self._limit_s):
                step, ids = self._what
                log.warning("stall step=%d limit_s=%.0f ids=%s", step, self._limit_s, ",".join(ids))
                faulthandler.dump_traceback(sys.__stderr__ or sys.stderr, all_threads=True)
                self._entered.wait()
                log.warning("stall_over seconds=%.0f", time.monotonic() - started)
            self._entered.clear()


class FirstStepsCheck:
    """Compares the first losses with those of a model that always predicts zero."""

    def __init__(self) -> None:
        self._pairs: list[tuple[float, float]] = []

    def observe(self, loss: float, zero_loss: float) -> None:
        """Take in one of the first steps; says the verdict after the last of them."""
        self._pairs.append((loss, zero_loss))
        if len(self._pairs) != FIRST_STEPS:
            return
        late = self._pairs[-LATE_STEPS:]
        loss, zero_loss = (sum(column) / len(late) for column in zip(*late, strict=True))
        log.info("first_steps steps=%d loss=%.4f predict_zero=%.4f", FIRST_STEPS, loss, zero_loss)
        if loss > LEARNED * zero_loss:
            log.warning(
                "first_steps_no_better_than_zero loss=%.4f predict_zero=%.4f hint='check lr, the"
                " latents and the loaded weights'",
                loss,
                zero_loss,
            )
