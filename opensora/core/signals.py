"""Asked to stop: a checkpoint first where there is one, else all unwinds before the end."""

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

# set by whoever starts workers: they end when it is gone
STARTED_BY = "OPENSORA_STARTED_BY"
_OF_TORCHRUN = "TORCHELASTIC_RUN_ID"  # which ends all of its workers when one has ended
_LOOK_S = 0.5
_SAME_WISH_S = 5.0  # Ctrl-C again, or the signal of a launcher after that of the terminal
ORPHANED_S = 600.0  # a worker that can not end by itself, its launcher gone, is ended


class EndSignals:
    """Lets SIGTERM and SIGHUP end a command as Ctrl-C does: by a KeyboardInterrupt.

    So what is half written is removed, and processes that were started are ended. One that comes
    again within seconds changes nothing: it would break into the tidying up of the first.

    Attributes:
        received: name of the first one, or None.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.received: str | None = None
        self._heard = 0.0
        self._code: int | None = None
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "EndSignals":
        """Start listening, in the main thread."""
        self._former = _listen(self.SIGNALS, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        if self._code is not None:
            return
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def finish(self, code: int) -> None:
        """From here on a signal is no more than haste: the exit code tells what was done."""
        self._code = code

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._code is not None:
            os._exit(self._code)
        is_first = self.received is None
        self.received = self.received or signal.Signals(number).name
        if is_first or time.monotonic() > self._heard + _SAME_WISH_S:
            self._heard = time.monotonic()
            raise KeyboardInterrupt


def _listen(numbers: tuple[signal.Signals, ...], hear: Any) -> dict[signal.Signals, Any]:
    """Give signals a handler; returns those of before.

    One that is ignored stays so: by nohup a run shall outlive its terminal, and a shell keeps the
    keyboard from what it runs in the background.
    """
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, hear) for number in heard}


class StopSignals:
    """Turns SIGTERM, SIGINT, SIGHUP and SIGUSR1 into a flag, from the first to the last of them.

    SLURM, Docker and a closed terminal send signals to one process or to all, once or repeatedly,
    and some send them early as a warning. All mean the same: finish the step, write a checkpoint,
    leave. Who can not wait for that has SIGKILL. One that the process was started to ignore, as
    nohup does with SIGHUP, stays ignored.

    Inside a worker, the end of the process that started it counts as a signal as well.

    Args:
        speak: whether the first signal is acknowledged at once; one process of a run does it.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)

    def __init__(self, *, speak: bool = False) -> None:
        self.received: str | None = None
        self._speak = speak
        self._former: dict[signal.Signals, Any] = {}
        self._left = threading.Event()

    def __enter__(self) -> "StopSignals":
        """Start listening; outside the main thread Python delivers no signals, so none are kept."""
        if threading.current_thread() is threading.main_thread():
            self._former = _listen(self.SIGNALS, self._hear)
        if starter := os.environ.get(STARTED_BY):
            watch = threading.Thread(target=self._watch, args=(int(starter),), daemon=True)
            watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening; a worker listens on to its end, lest a signal change its exit code."""
        self._left.set()
        if STARTED_BY not in os.environ and _OF_TORCHRUN not in os.environ:
            for number, handler in self._former.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        first, self.received = self.received is None, signal.Signals(number).name
        if first and self._speak:
            # not a log: a signal may come while one is being written
            text = f"stop_asked signal={self.received}: finishes its step and writes a checkpoint\n"
            os.write(2, text.encode())

    def _watch(self, starter: int) -> None:
        while os.getppid() == starter:
            if self._left.wait(_LOOK_S):
                return
        self.received = self.received or "the end of its launcher"
        if not self._left.wait(ORPHANED_S):
            os._exit(1)
