"""One process of several that train a small model under a plugin, saving and loading on the way."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from colossalai.accelerator import CpuAccelerator, set_accelerator
from torch import nn

from opensora.acceleration import plugins
from opensora.acceleration.optimizer import build_optimizer
from opensora.acceleration.plugins import Engine
from opensora.acceleration.workers import Workers
from opensora.models.weights.parts import files_of, part_name, read_parts, write_parts

CPU = torch.device("cpu")
CHANGING = ["ddp", "fsdp", "zero2", "zero1", "ddp"]


class Net(nn.Module):
    """Sizes that two or three workers can not deal out evenly."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
        self.head = nn.Linear(3, 1)

    @property
    def all_blocks(self) -> list[nn.Module]:
        """What FSDP gathers at a time."""
        return [self.blocks]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [N, 5] to [N, 1]."""
        out: torch.Tensor = self.head(self.blocks(x))
        return out


class _Stream(nullcontext[None]):
    def wait_stream(self, _: object) -> None:
        """There is nothing to wait for."""


class _AsGpu(CpuAccelerator):  # type: ignore[misc]
    """ZeRO wants a GPU, whose streams a CPU does without."""

    def __init__(self) -> None:
        super().__init__()
        self._name = "cuda"

    def Stream(self, *_: Any, **__: Any) -> Any:
        """Of no meaning here."""
        return _Stream()

    current_stream = stream = synchronize = Stream


def make(plugin: str, workers: Workers) -> Engine:
    """An engine with Muon and AdamW; weights are seeded."""
    torch.manual_seed(0)
    model = Net()
    plugins.check_plugin = lambda name, device: None  # ZeRO's arithmetic needs no GPU
    torch.Tensor.record_stream = lambda self, stream: None
    plugins.set_accelerator = lambda name: set_accelerator(_AsGpu())
    optimizer = build_optimizer(model, {"type": "muon", "lr": 0.05, "weight_decay": 0.1}, lr=None)
    fields: dict[str, Any] = {"plugin": plugin, "dtype": "fp32", "grad_clip": 0.5}
    return Engine(model, optimizer, workers=workers, **fields)


def step(engine: Engine, number: int) -> None:
    """One step on data of the step and the worker."""
    seed = 10 * number + engine.workers.rank
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(seed))
    engine.backward(engine.model(x).square().mean())
    engine.update()


def save(engine: Engine, folder: Path) -> None:
    """Write what this worker has, and the numbers."""
    workers, trained = engine.workers, engine.trained
    parts = {"live": trained.parts(trained.live), "optimizer": trained.optimizer_parts()}
    folder.mkdir(exist_ok=True, parents=True)
    for name, own in parts.items():
        file = part_name(f"{name}.safetensors", workers.rank, workers.world_size)
        write_parts(folder / file, own)
    if workers.is_main:
        (folder / "state.json").write_text(json.dumps(engine.state_dict()))
    dist.barrier()


def load(engine: Engine, folder: Path) -> None:
    """Go on from what any number of workers wrote under any plugin."""
    weights = read_parts(files_of(folder / "live.safetensors"))
    engine.trained.fill(engine.trained.live, weights)
    if engine.clips_itself:  # ZeRO computes with copies
        engine.module.load_state_dict(dict(weights))
    moments = read_parts(files_of(folder / "optimizer.safetensors"))
    engine.load_state_dict(json.loads((folder / "state.json").read_text()), moments)


def train(workers: Workers, folder: Path, names: list[str]) -> None:
    """Two steps under each plugin, each going on from what the one before wrote."""
    for part, name in enumerate(names):
        engine = make(name, workers)
        if part:
            load(engine, folder / str(part - 1))
        for number in (2 * part, 2 * part + 1):
            step(engine, number)
        save(engine, folder / str(part))


def main(rank: int, world: int, folder: Path) -> None:
    """The same steps under changing plugins and under one; then one worker takes them over."""
    store = dist.FileStore(str(folder / "store"), world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    workers = Workers(rank, world, CPU)
    train(workers, folder / "changing", CHANGING)
    train(workers, folder / "straight", ["ddp"] * len(CHANGING))
    dist.destroy_process_group()
    if rank == 0:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        engine = make("fsdp", Workers(0, 1, CPU))
        load(engine, folder / "changing" / str(CHANGING.index("fsdp")))
        save(engine, folder / "alone")
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
