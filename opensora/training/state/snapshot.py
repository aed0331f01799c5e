"""What a checkpoint holds of a run, copied to the host's memory, so that training can go on."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opensora.acceleration.shares import parts_to_write
from opensora.models.lora.adapters import named
from opensora.models.weights.parts import Part
from opensora.training.checkpoint import EMA, MODEL, OPTIMIZER, Counters
from opensora.training.start import TrainingRun


@dataclass(frozen=True)
class Snapshot:
    """What one worker writes of a checkpoint.

    Attributes:
        counters: where the run stands.
        tensors: file -> name -> what this worker holds, in memory that no step changes.
        apart: the files of which each worker writes one.
        optimizer: the numbers of its state.
        metrics: text of metrics.jsonl up to here, on the main worker.
    """

    counters: Counters
    tensors: Mapping[str, Mapping[str, Part]]
    apart: frozenset[str]
    optimizer: dict[str, Any]
    metrics: str | None = None


class HostCopies:
    """Copies of a run's tensors in the host's memory, which are taken again and again.

    They are made once, since memory that is new, or that a GPU can write to, takes long to get.
    """

    def __init__(self) -> None:
        self._copies: dict[tuple[str, str], Tensor] = {}

    def likes(self, run: TrainingRun) -> dict[tuple[str, str], Tensor]:
        """What `take` would copy now, for `reserve`: (file, name) -> values."""
        files = _files(run)
        return {(file, name): part.values for file in files for name, part in files[file].items()}

    def reserve(self, likes: Mapping[tuple[str, str], Tensor]) -> None:
        """Get the memory for copies of such tensors; each page is written to, so that it is there.

        No copies may be taken meanwhile. Where there is too little, `take` will say so.
        """
        with suppress(MemoryError, RuntimeError):
            for place, like in likes.items():
                own = _memory_for(like)
                if like.device.type == "cpu":
                    own.view(torch.uint8).numpy().fill(0)
                self._copies[place] = own

    def take(self, run: TrainingRun, *, finished: bool = False) -> Snapshot:
        """Copy what this worker writes of a run; nothing of the last copies may be in use.

        Args:
            run: of this worker.
            finished: it has reached its end.
        """
        engine = run.engine
        if run.workers.world_size > 1 and engine.splits_moments:
            apart = {EMA, OPTIMIZER, *([MODEL] if engine.is_split else [])}
        else:
            apart = set()
        return Snapshot(
            counters=replace(run.counters, finished=finished),
            tensors=self._copied(_files(run)),
            apart=frozenset(apart),
            optimizer=engine.state_dict(),
            metrics=None if run.metrics is None else run.metrics.text,
        )

    @torch.no_grad()
    def _copied(self, files: dict[str, dict[str, Part]]) -> dict[str, dict[str, Part]]:
        copies: dict[tuple[str, str], Tensor] = {}
        for file, parts in files.items():
            for name, part in parts.items():
                own = self._copies.get((file, name))
                if own is None or own.shape != part.values.shape:
                    own = _memory_for(part.values)
                _copy(part.values, own)
                copies[file, name] = own
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self._copies = copies
        return {
            file: {name: replace(part, values=copies[file, name]) for name, part in parts.items()}
            for file, parts in files.items()
        }


def _files(run: TrainingRun) -> dict[str, dict[str, Part]]:
    """The tensors of a checkpoint that this worker writes: file -> name -> live values."""
    trained = run.engine.trained
    averages = {} if run.ema is None else trained.parts(run.ema.average)
    if run.adapters is None:
        weights = trained.weight_parts()
        averages = {**weights, **averages}
    else:
        weights = parts_to_write(run.adapters.tensors(), is_main=run.workers.is_main)
        averages = named(averages)
    return {MODEL: weights, EMA: averages, OPTIMIZER: trained.optimizer_parts()}


def _memory_for(values: Tensor) -> Tensor:
    """Room on the host for a copy, which a GPU can write to where the values are on one."""
    is_on_gpu = values.device.type == "cuda"
    return torch.empty(values.shape, dtype=values.dtype, pin_memory=is_on_gpu)


def _copy(source: Tensor, target: Tensor) -> None:
    """Copy [n] values to the host.

    Memory of the host is copied by one thread: to wake others for each tensor takes longer, ten
    times so where they share their cores with other processes.
    """
    if source.device.type == "cpu":
        np.copyto(target.view(torch.uint8).numpy(), source.view(torch.uint8).numpy())
    else:
        target.copy_(source, non_blocking=True)
