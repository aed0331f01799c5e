"""How fast a run is: clips, tokens and operations a second, time waited for data, memory."""

import logging
import math
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from opensora.acceleration.workers import Workers
from opensora.core.errors import ConfigError
from opensora.plans.budget.cost import Cost, live_cost
from opensora.plans.budget.machine import peak_of_device
from opensora.training.start import TrainingRun

MFU_COUNTS = "products of forward and backward pass; what checkpointing recomputes is left out"

log = logging.getLogger(__name__)


class Clock:
    """Seconds of training, and what was done since the last line.

    Args:
        seconds: of training, before this start.
    """

    def __init__(self, seconds: float) -> None:
        self._start = time.monotonic() - seconds
        self._samples = 0
        self.restart()

    @property
    def seconds(self) -> float:
        """Of training, those before a resume included."""
        return time.monotonic() - self._start

    def restart(self) -> None:
        """Begin a line."""
        self._line_start = time.monotonic()
        self._samples, self._tokens, self._flops, self._waited = 0, 0, 0.0, 0.0

    def count(self, samples: int) -> None:
        """Take in the clips of a step, on all workers."""
        self._samples += samples

    def took(self, tokens: int, flops: float) -> None:
        """Take in a micro batch of this worker."""
        self._tokens += tokens
        self._flops += flops

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what reads a batch, or waits for whoever does."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - start

    def line(self, workers: Workers, peak: float | None) -> dict[str, float | None]:
        """The numbers since the last line, which ends here; all workers take part.

        Args:
            workers: of the run.
            peak: operations a second of one device; None where it is not known.

        Returns:
            `samples_per_s`, `tokens_per_s` and `mfu` of all workers together, `data_wait_s` and
            `memory_gb` of the worker with the most. `mfu` is None without a peak.
        """
        seconds = max(time.monotonic() - self._line_start, 1e-9)
        shares = workers.place == 0  # those who share a video count it once
        own = (
            *(self._tokens * shares, self._flops * shares),
            *(self._waited, peak_memory_gb(workers.device)),
        )
        tokens, flops, waited, memory = zip(*workers.gather(own), strict=True)
        mfu = None
        if peak and sum(flops):
            mfu = round(sum(flops) / seconds / (peak * workers.world_size), 4)
        line = {
            "samples_per_s": round(self._samples / seconds, 3),
            "tokens_per_s": round(sum(tokens) / seconds, 1),
            "mfu": mfu,
            "data_wait_s": round(max(waited), 3),
            "memory_gb": round(max(memory), 3),
        }
        self.restart()
        return line


class Work:
    """Tokens and operations of the micro batches of a run.

    Args:
        run: whose model counts.

    Attributes:
        device: what computes.
        peak: its operations a second on 16-bit numbers; None of a CPU, of an unknown GPU, and of
            a run in fp32.
    """

    def __init__(self, run: TrainingRun) -> None:
        model: Any = run.engine.module
        self._patch = tuple(getattr(model, "patch_size", (1, 1, 1)))
        self._flops: dict[tuple[int, ...], float] = {}
        try:
            self._cost: Cost | None = live_cost(model, run.source.max_length, run.config.lora)
        except ConfigError:  # a model whose layers are not known
            self._cost = None
        on_gpu = run.workers.device.type == "cuda"
        self.device = torch.cuda.get_device_name(run.workers.device) if on_gpu else "cpu"
        is_half = run.engine.dtype != torch.float32
        self.peak = peak_of_device(self.device) if is_half else None

    def of(self, shape: torch.Size) -> tuple[int, float]:
        """Tokens, and operations forward and backward, of latents [B, C, T, H, W]."""
        sizes = zip(shape[2:], self._patch, strict=True)
        frames, rows, columns = (-(-size // patch) for size, patch in sizes)
        grid = (frames, rows, columns)
        if grid not in self._flops:
            self._flops[grid] = self._count(grid)
        return shape[0] * math.prod(grid), shape[0] * self._flops[grid]

    def _count(self, grid: tuple[int, int, int]) -> float:
        if self._cost is None:
            return 0.0
        try:
            return self._cost.training_flops(grid)
        except ConfigError as error:  # what an open model does follows from values
            log.info("train_pace mfu=unknown reason=%r", str(error))
            self._cost = None
            return 0.0


def peak_memory_gb(device: torch.device) -> float:
    """Most memory of this process so far, GB: tensors on a GPU, else what is resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
