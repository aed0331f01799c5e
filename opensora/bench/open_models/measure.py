"""Both sides of `bench open`, in turn in one run: so many steps of the one, so many of the other.

Ours are the trainer's own steps (`training.loop.run_steps`): loss, backward pass, clipping, fused
AdamW, moving average, checks and metrics. Batches are in memory on both sides; what reads stores
ahead is left out.
"""

import gc
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from opensora.acceleration.precision import effective_dtype
from opensora.acceleration.workers import Workers
from opensora.bench.measure import Stopwatch
from opensora.bench.open_models.cases import NETWORK, Case, build_encoders, memory_source
from opensora.bench.open_models.plain import Recipe, Steps, plain_loop
from opensora.bench.train.source import MemorySource
from opensora.config.registry import MODELS, build_module
from opensora.core.signals import StopSignals
from opensora.core.terminal import align
from opensora.datasets.stored import LatentBatch
from opensora.training.config import TrainConfig
from opensora.training.loop import run_steps
from opensora.training.start import prepare_run
from opensora.training.state.saver import Saver
from opensora.training.watched.watch import FIRST_STEPS, Watchdog

_SEED, _LR, _SHIFT, _CLIP, _DECAY = 42, 1e-5, 3.0, 1.0, 0.99
_WARMUP = 2


@dataclass(frozen=True)
class Setup:
    """How all cases are measured.

    Attributes:
        workers: this process.
        steps: of a turn of the largest case.
        turns: of each side, of which the median counts.
        compiled: compile our blocks.
        online: their side encodes video and text in each step.
        fused: their AdamW is fused as ours is.
    """

    workers: Workers
    steps: int = 3
    turns: int = 5
    compiled: bool = False
    online: bool = False
    fused: bool = False


@dataclass(frozen=True)
class OpenTiming:
    """One row: both sides at one size and precision.

    Attributes:
        size: of the case.
        dtype: of matrix products, on both sides.
        tokens: of the videos of a step.
        ours: milliseconds of a step, turn by turn.
        theirs: likewise.
        our_cpu: processor milliseconds of a step, turn by turn.
        their_cpu: likewise.
    """

    size: str
    dtype: str
    tokens: int
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    our_cpu: list[float] = field(default_factory=list)
    their_cpu: list[float] = field(default_factory=list)


class _InTurn:
    """A source of batches that lets the other side have its turn between two of ours.

    The trainer asks for the batch of a step when all of the step before is done, so what passes
    between two requests is a whole step.
    """

    def __init__(
        self, source: MemorySource, other: Steps, setup: Setup, row: OpenTiming, each: int
    ):
        self._source, self._other, self._row, self._each = source, other, row, each
        self._last = _WARMUP + setup.turns * each
        self._watch: Stopwatch | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def encode(self, position: int, batch: LatentBatch) -> LatentBatch:
        """The batch itself; at the end of a turn the other side's steps first."""
        done = position - _WARMUP
        if done >= 0 and done % self._each == 0:
            self.end_turn()
            if position < self._last:
                with Stopwatch() as watch:
                    self._other(self._each)
                _note(watch, self._each, self._row.theirs, self._row.their_cpu)
                self._watch = Stopwatch().__enter__()
        return self._source.encode(position, batch)

    def end_turn(self) -> None:
        """Take the time of our turn, if there was one."""
        if self._watch is not None:
            self._watch.__exit__(None, None, None)
            _note(self._watch, self._each, self._row.ours, self._row.our_cpu)
            self._watch = None


def _note(watch: Stopwatch, steps: int, wall: list[float], cpu: list[float]) -> None:
    wall.append(watch.seconds / steps * 1e3)
    cpu.append(watch.cpu_seconds / steps * 1e3)


def measure_open(cases: Sequence[Case], dtypes: Sequence[str], setup: Setup) -> list[OpenTiming]:
    """Time both sides of each case in each precision; bf16 where this processor is fast at it."""
    rows = []
    for case in cases:
        for asked in dtypes:
            used = effective_dtype(asked, setup.workers.device)
            if str(used) == f"torch.{_NAMES[asked]}":
                rows.append(_measure(case, asked, setup))
            gc.collect()
    return rows


_NAMES = {"fp32": "float32", "bf16": "bfloat16"}


def _measure(case: Case, dtype: str, setup: Setup) -> OpenTiming:
    row = OpenTiming(case.name, dtype, case.tokens)
    each = setup.steps * case.steps
    torch.manual_seed(_SEED)
    architecture = {"_class_name": NETWORK, **case.network}
    model = build_module({"type": "diffusers", "architecture": architecture}, MODELS)
    with tempfile.TemporaryDirectory(prefix="opensora-bench-") as name:
        number = _WARMUP + setup.turns * each + 1
        source = memory_source(case, Path(name), number)
        batch = source.read(0)
        used = effective_dtype(dtype, setup.workers.device)
        recipe = Recipe(used, _LR, _SHIFT, _CLIP, _DECAY, setup.fused)
        stored = batch["latents"], batch["y"][:, 0]
        given = build_encoders(case) if setup.online else stored
        theirs = plain_loop(case.network, model.state_dict(), given, recipe)
        theirs(_WARMUP)
        in_turn = _InTurn(source, theirs, setup, row, each)
        config = TrainConfig(
            model={"type": "diffusers", "architecture": architecture},
            scheduler={"type": "flow-match", "shift": _SHIFT, "sample_method": "logit-normal"},
            dataset={
                "type": "LatentDataset",
                **dict.fromkeys(("latents", "embeddings"), name),
                "plan": str(source.path),
            },
            outputs=f"{name}/outputs",
            lr=_LR,
            dtype=dtype,
            grad_clip=_CLIP,
            ema_decay=_DECAY,
            seed=_SEED,
            ckpt_every=1 << 30,
            log_every=10,
            compile=setup.compiled,
            num_workers=0,
        )
        run = prepare_run(config, setup.workers, given=(in_turn, model))  # type: ignore[arg-type]
        # beyond the first steps, which the trainer watches
        run.counters = replace(run.counters, step=FIRST_STEPS)
        run.total_steps = FIRST_STEPS + _WARMUP + setup.turns * each
        saver = Saver(config.state_folder, setup.workers, None)
        with StopSignals() as signals, Watchdog() as watchdog, saver:
            run_steps(run, signals, watchdog, saver)
        in_turn.end_turn()
    return row


def open_table(rows: Sequence[OpenTiming]) -> str:
    """Steps a second of both sides, medians of the turns, and how often the one is the other."""
    lines = []
    for row in rows:
        ours, theirs = statistics.median(row.ours), statistics.median(row.theirs)
        ratios = sorted(t / o for o, t in zip(row.ours, row.theirs, strict=True))
        cpu = statistics.median(t / o for o, t in zip(row.our_cpu, row.their_cpu, strict=True))
        lines.append(
            (
                *(row.size, row.dtype, str(row.tokens), f"{1e3 / ours:.3g}", f"{1e3 / theirs:.3g}"),
                f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                f"{cpu:.2f}",
            )
        )
    names = ["size", "products in", "tokens", "ours, steps/s", "diffusers, steps/s"]
    return align([*names, "times as fast", "by processor time"], lines)


def open_summary(rows: Sequence[OpenTiming]) -> str:
    """How often our fastest precision is theirs, by processor time of a step."""
    found = []
    for size in dict.fromkeys(row.size for row in rows):
        own = [row for row in rows if row.size == size]
        ours = min(statistics.median(row.our_cpu) for row in own)
        theirs = min(statistics.median(row.their_cpu) for row in own)
        found.append(f"{size} {theirs / ours:.2f} times")
    return f"processor time of a step, the faster precision of each side: {', '.join(found)}"
