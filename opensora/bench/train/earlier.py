"""Times cases in a checkout from before there was `bench train`, such as fb84f53.

Run as a file, with that checkout's package on the path: nothing of this one is imported, and the
names are those of that time. Batches are in memory there too, and the model is the same.
"""

import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

_STRIDE, _CHANNELS, _FPS, _WARMUP, _FIRST_STEPS = 8, 4, 24.0, 2, 100


class Source:
    """The same micro batch at every position."""

    num_readers = None

    def __init__(self, spec: dict[str, Any]) -> None:
        B, T, side = spec["batch_size"], spec["frames"], spec["side"]
        L, D = (
            spec["model"].get(name, usual)
            for name, usual in (("model_max_length", 120), ("caption_channels", 4096))
        )
        entry = SimpleNamespace(bucket=f"{side}x{side}|{T}", epoch=0, ids=[])
        self.plan = _Plan(entry)
        self.latent_identity = self.embedding_identity = {"type": "random"}
        self.latent_channels, self.text_dim, self.max_length = _CHANNELS, D, L
        self.latent_size = (T, side // _STRIDE, side // _STRIDE)
        mask = torch.arange(L) < torch.linspace(min(8, L), L, B)[:, None]
        sizes = {"num_frames": T, "height": side, "width": side, "ar": 1.0, "fps": _FPS}
        self._batch = {
            "latents": torch.randn(B, _CHANNELS, *self.latent_size).bfloat16(),
            "y": (torch.randn(B, 1, L, D) * mask[:, None, :, None]).bfloat16(),
            "mask": mask.long(),
            **{name: torch.full((B,), float(value)) for name, value in sizes.items()},
            "ids": [f"clip-{number}" for number in range(B)],
        }

    def read(self, position: int) -> dict[str, Any]:
        """The micro batch."""
        return self._batch

    def encode(self, position: int, batch: dict[str, Any]) -> dict[str, Any]:
        """The same."""
        return batch


class _Plan:
    hash = "none"

    def __init__(self, entry: Any) -> None:
        self._entry = entry

    def __len__(self) -> int:
        return 1 << 20

    def __getitem__(self, position: int) -> Any:
        return self._entry


def time_case(spec: dict[str, Any], workers: Any, folder: Path) -> float:
    """Milliseconds of a step, median of the repeats."""
    setup, loop, watch, configs, registry = (
        importlib.import_module(f"opensora.{name}")
        for name in (
            *("training.setup", "training.loop", "training.watch", "training.config"),
            "core.registry",
        )
    )
    on_gpu = workers.device.type == "cuda"
    fields = {"type": "STDiT-XL/2", **spec["model"], "enable_layernorm_kernel": on_gpu}
    torch.manual_seed(42)
    with torch.device(workers.device):
        model = registry.build_module(fields, registry.MODELS)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.02)
    model.set_grad_checkpoint(spec["checkpoint"])
    config = configs.TrainConfig(
        model=fields,
        scheduler={"type": "iddpm", "timestep_respacing": ""},
        dataset={
            "type": "LatentDataset",
            **dict.fromkeys(("latents", "embeddings", "plan"), str(folder)),
        },
        outputs=str(folder / "outputs"),
        lr=2e-5,
        dtype=spec["dtype"],
        plugin=spec["plugin"],
        grad_checkpoint=spec["checkpoint"],
        ckpt_every=1 << 30,
    )
    vars(setup)["settle_plan"] = lambda *_: folder
    vars(setup)["open_source"] = lambda *_: Source(spec)
    vars(setup)["build_model"] = lambda *_: (model, fields)
    run = setup.prepare(config, workers)
    run.counters = replace(run.counters, step=_FIRST_STEPS)

    def steps(number: int) -> None:
        run.total_steps = run.counters.step + number
        with watch.StopSignals() as signals, watch.Watchdog() as watchdog:
            loop.run_steps(run, signals, watchdog)
        if on_gpu:
            torch.cuda.synchronize()

    steps(_WARMUP)
    return statistics.median(
        _seconds(lambda: steps(spec["steps"])) / spec["steps"] * 1e3 for _ in range(spec["repeats"])
    )


def _seconds(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main(specs: list[dict[str, Any]], file: Path) -> None:
    """Time all cases and write {case: ms}."""
    on_gpu = torch.cuda.is_available() and not specs[0]["cpu"]
    group = importlib.import_module("opensora.acceleration.workers").worker_group
    times = {}
    with group(gpus=int(on_gpu)) as workers:
        for spec in specs:
            with tempfile.TemporaryDirectory() as folder:
                times[spec["name"]] = time_case(spec, workers, Path(folder))
    file.write_text(json.dumps(times), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
