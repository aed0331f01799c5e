"""metrics.jsonl: one line per logged step, cut back to the checkpoint when a run resumes."""

import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from opensora.core.io import write_text
from opensora.training.checkpoint import Checkpoint, Counters
from opensora.training.config import TrainConfig
from opensora.training.watched.loggers import open_loggers

log = logging.getLogger(__name__)

LOSS_EMA_STEPS = 50  # the smoothed loss forgets at this pace


class MetricsLog:
    """Appends to `metrics.jsonl` and keeps the running mean of the loss.

    Args:
        path: the file; lines after `step` are cut off.
        step: steps already done.
        loss_ema: smoothed loss after those steps; None at the start.
        losses: of the steps since the last line.
        carried: text of the file as the checkpoint of `step` carries it. Where the file has lost
            or changed a line since, it becomes this again and the log says so.
        send: also receives every line, for an outside service.
    """

    def __init__(
        self,
        path: Path,
        *,
        step: int = 0,
        loss_ema: float | None = None,
        losses: Sequence[float] = (),
        carried: str | None = None,
        send: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._path = path
        self._send = send
        self.loss_ema = loss_ema
        self._losses = list(losses)
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        lines = [line for line in text.splitlines() if _is_of_step(line, step)]
        if carried is not None and lines != (whole := carried.splitlines()):
            kept = len(set(lines) & set(whole))
            log.warning(
                "metrics_mended file=%s kept=%d of=%d lines, the others are those of the checkpoint"
                " of step %d",
                *(path, kept, len(whole), step),
            )
            lines = whole
        write_text(path, "".join(f"{line}\n" for line in lines))

    @property
    def losses(self) -> list[float]:
        """Of the steps since the last line."""
        return list(self._losses)

    def ended_by_hand(self, words: str) -> str:
        """The text whose last line says where somebody ended the run; the file stays as it is."""
        *lines, last = self.text.splitlines() or [json.dumps({"loss_ema": self.loss_ema})]
        lines.append(json.dumps({**json.loads(last), "ended_by_hand": words}))
        return "".join(f"{line}\n" for line in lines)

    @property
    def text(self) -> str:
        """All that is written so far."""
        return self._path.read_text(encoding="utf-8")

    def observe(self, loss: float) -> None:
        """Take in the loss of one step."""
        keep = 1 - 1 / LOSS_EMA_STEPS
        old = loss if self.loss_ema is None else self.loss_ema
        self.loss_ema = keep * old + (1 - keep) * loss
        self._losses.append(loss)

    def write(self, step: int, **fields: Any) -> dict[str, Any]:
        """Append the line of step `step` (from 1); `loss` is the mean since the last line."""
        mean = math.fsum(self._losses) / len(self._losses)
        line = {"step": step, "loss": mean, "loss_ema": self.loss_ema, **fields}
        self._losses.clear()
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._send is not None:
            self._send(line)
        return line


def open_metrics(
    config: TrainConfig, counters: Counters, checkpoint: Checkpoint | None
) -> MetricsLog:
    """The log of a run as of a checkpoint, with the loggers that its config names.

    Raises:
        ConfigError: the package of a logger is not installed.
    """
    folder = config.state_folder
    return MetricsLog(
        folder / "metrics.jsonl",
        step=counters.step,
        loss_ema=counters.loss_ema,
        losses=counters.losses,
        carried=None if checkpoint is None else checkpoint.metrics,
        send=open_loggers(config.all_loggers, vars(config), folder, step=counters.step),
    )


def _is_of_step(line: str, step: int) -> bool:
    """Whether a line is whole and belongs to the first `step` steps."""
    try:
        return int(json.loads(line)["step"]) <= step
    except (ValueError, KeyError, TypeError):
        return False  # the last line of a killed run may be half a line
