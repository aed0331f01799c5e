"""How long a step waits for a checkpoint, against writing it at once: docs/benchmarks.md.

`python -m tests.checkpoint_wait FOLDER`, on the disk that is to be measured.
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from opensora.acceleration.optimizer import build_optimizer
from opensora.acceleration.plugins import Engine
from opensora.acceleration.workers import Workers, worker_group
from opensora.training.checkpoint import Counters
from opensora.training.ema import Ema
from opensora.training.state.saver import Saver

LAYERS, WIDTH, TIMES = 40, 1152, 7
STEPS_S = 5.0


@dataclass
class Run:
    """What a saver asks of a run."""

    engine: Engine
    ema: Ema
    workers: Workers
    counters: Counters
    adapters: None = None
    metrics: None = None


def measure(root: Path, workers: Workers) -> None:
    """Print the seconds of each checkpoint and their medians."""
    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)))
    fields: dict[str, Any] = {"plugin": "ddp", "dtype": "fp32", "grad_clip": None}
    optimizer = build_optimizer(model, {"type": "adamw"}, lr=1e-3)
    engine = Engine(model, optimizer, workers=workers, **fields)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    engine.optimizer.step()
    run: Any = Run(engine, Ema(engine.trained.live, 0.9), workers, Counters(0, 0, "", ""))
    waits, wholes = [], []
    with Saver(root, workers, None) as saver:
        saver.get_ready(run)
        time.sleep(STEPS_S)  # of the steps before the first one
        for step in range(TIMES):
            run.counters = Counters(step, 0, "", "")
            begun = time.perf_counter()
            saver.start(run)
            waits.append(time.perf_counter() - begun)
            saver.wait()
            wholes.append(time.perf_counter() - begun)
            sys.stdout.write(f"step waits {waits[-1]:.2f} s of {wholes[-1]:.2f} s\n")
    wait, whole = median(waits), median(wholes)
    sys.stdout.write(f"{wait:.2f} s of {whole:.2f} s: {wait / whole:.2f}\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder, worker_group() as alone:
        measure(Path(folder), alone)
