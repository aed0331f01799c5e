"""What `bench train` measures: whole steps of the trainer, each part of them, and the reference's.

One model serves all cases: it is built on the device, and every case begins with weights of the
same seed. Steps are those of `training.loop.run_steps` on batches in memory, so optimizer, average,
checks, metrics and what the host does between are in them; files are not.
"""

import gc
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW

from opensora.acceleration.precision import effective_dtype
from opensora.acceleration.workers import Workers
from opensora.bench.measure import PeakMemory, Stopwatch
from opensora.bench.model import count_flops, peak_flops
from opensora.bench.model_subjects import Settings, our_subject
from opensora.bench.train.cases import MODEL, Case, reference_style, use_kernels
from opensora.bench.train.shares import Shares, profile_shares
from opensora.bench.train.source import MAX_LENGTH, TEXT_DIM, MemorySource
from opensora.buckets.bucket import Bucket
from opensora.config.registry import MODELS, SCHEDULERS, build_module
from opensora.core.errors import ConfigError
from opensora.core.signals import StopSignals
from opensora.datasets.stored import LatentBatch
from opensora.models.layers.kernels.table import built_kernels
from opensora.models.layers.transformer import VideoTransformer
from opensora.training.config import TrainConfig
from opensora.training.loop import run_steps
from opensora.training.start import prepare_run
from opensora.training.state.saver import Saver
from opensora.training.watched.watch import FIRST_STEPS, Watchdog

_SCHEDULER = {"type": "iddpm", "timestep_respacing": ""}
_SEED, _STD = 42, 0.02
_WARMUP = 2
_LR = 2e-5

Steps = Callable[[int], None]  # do so many steps, and wait for the device


@dataclass(frozen=True)
class Setup:
    """How all cases are measured.

    Attributes:
        workers: this process.
        steps: of each of the repeats.
        repeats: timed stretches of steps, of which the median counts.
        compiled: compile the blocks of cases that choose their kernels.
        fields: of the model, besides those of the cases.
    """

    workers: Workers
    steps: int = 3
    repeats: int = 3
    compiled: bool = False
    fields: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class TrainTiming:
    """One row.

    Attributes:
        case: its name.
        about: what it stands for.
        dtype: that of the products, in truth.
        ms: a step, median of the repeats.
        fastest: ms of a step in the fastest repeat.
        slowest: likewise.
        tokens: of a step.
        flops: of a step; recomputation does not count.
        peak_bytes: weights, gradients, optimizer, average, activations.
        shares: of a step's time.
    """

    case: str
    about: str
    dtype: str
    ms: float
    fastest: float
    slowest: float
    tokens: int
    flops: int
    peak_bytes: int
    shares: Shares


def measure_train(cases: Sequence[Case], setup: Setup) -> list[TrainTiming]:
    """Time the cases, one after the other, on one model.

    Raises:
        ConfigError: a case does not fit into the memory of the GPU, or can not be trained here.
    """
    device = setup.workers.device
    with torch.device(device):
        model = build_module({"type": MODEL, **_fields(cases[0], setup)}, MODELS)
    model = model.to(device)
    own = built_kernels(model)
    rows = []
    for case in cases:
        use_kernels(model, own)
        try:
            rows.append(_measure(case, setup, model))
        except torch.OutOfMemoryError as error:
            raise ConfigError(
                f"case {case.name} does not fit into the memory of the GPU; leave it out of --cases"
            ) from error
        _forget(model)
    return rows


def _fields(case: Case, setup: Setup) -> dict[str, Any]:
    on_gpu = setup.workers.device.type == "cuda"
    return {**case.model, **dict(setup.fields), "enable_layernorm_kernel": on_gpu}


def _measure(case: Case, setup: Setup, model: nn.Module) -> TrainTiming:
    device = setup.workers.device
    torch.manual_seed(_SEED)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=_STD)
    with tempfile.TemporaryDirectory() as folder:
        source = _source(case, setup, Path(folder))
        with PeakMemory(device) as memory:
            steps = (_reference if case.reference else _trainer)(case, setup, model, source)
            steps(_WARMUP)
            times = []
            for _ in range(setup.repeats):
                with Stopwatch() as watch:
                    steps(setup.steps)
                times.append(watch.seconds / setup.steps * 1e3)
        shares = profile_shares(lambda: steps(1), device)
    # the reference's weights are a copy, which the peak has seen
    weights = 0 if case.reference else sum(weight.nbytes for weight in model.parameters())
    B, (T, H, W) = case.batch_size, _settings(case, setup).latent_size
    return TrainTiming(
        case=case.name,
        about=case.about,
        dtype=str(effective_dtype(case.dtype, device)).removeprefix("torch."),
        ms=statistics.median(times),
        fastest=min(times),
        slowest=max(times),
        tokens=B * T * (H // 2) * (W // 2),
        flops=_flops(case.frames, case.side, case.batch_size, (*case.fields, *setup.fields)),
        peak_bytes=memory.added_bytes + weights,
        shares=shares,
    )


@lru_cache
def _flops(frames: int, side: int, batch_size: int, fields: tuple[tuple[str, Any], ...]) -> int:
    """Operations of a step, those of recomputation left out."""
    size = Settings(frames, (side, side), batch_size, model=dict(fields))
    return count_flops(our_subject, MODEL, size)["forward+backward"]


def _settings(case: Case, setup: Setup) -> Settings:
    """The same in the words of `bench model`, which knows peaks and latents."""
    device = setup.workers.device.type
    size = (case.side, case.side)
    return Settings(case.frames, size, case.batch_size, dtype="bf16", device=device)


def peak_of(cases: Sequence[Case], setup: Setup) -> tuple[float | None, str]:
    """FLOP/s that the device can reach, and where the number comes from."""
    return peak_flops(_settings(cases[0], setup))


def _source(case: Case, setup: Setup, folder: Path) -> MemorySource:
    bucket = Bucket(f"{case.side}x{case.side}", case.frames, "1.00")
    number = FIRST_STEPS + _WARMUP + setup.repeats * setup.steps + 1
    fields = _fields(case, setup)
    return MemorySource(
        *(folder, bucket, case.batch_size, number),
        text_dim=fields.get("caption_channels", TEXT_DIM),
        max_length=fields.get("model_max_length", MAX_LENGTH),
    )


def _trainer(case: Case, setup: Setup, model: nn.Module, source: MemorySource) -> Steps:
    """Steps of our trainer, beyond the first ones, which it watches."""
    assert isinstance(model, VideoTransformer)
    workers, folder = setup.workers, source.path.parent
    model.set_grad_checkpoint(case.checkpoint)
    config = TrainConfig(
        model={"type": MODEL, **_fields(case, setup)},
        scheduler=_SCHEDULER,
        dataset={
            "type": "LatentDataset",
            **dict.fromkeys(("latents", "embeddings"), str(folder)),
            "plan": str(source.path),
        },
        outputs=str(folder / "outputs"),
        lr=_LR,
        dtype=case.dtype,
        plugin=case.plugin,
        grad_checkpoint=case.checkpoint,
        seed=_SEED,
        ckpt_every=1 << 30,
        kernels=case.kernels,
    )
    run = prepare_run(config, workers, given=(source, model))
    if case.chosen and setup.compiled:
        model.compile_blocks()
    run.counters = replace(run.counters, step=FIRST_STEPS)

    def steps(number: int) -> None:
        run.total_steps = run.counters.step + number
        saver = Saver(config.state_folder, workers, None)
        with StopSignals() as signals, Watchdog() as watchdog, saver:
            run_steps(run, signals, watchdog, saver)
        _wait_for(workers.device)

    return steps


def _reference(case: Case, setup: Setup, model: nn.Module, source: MemorySource) -> Steps:
    """Loss, backward pass and fused AdamW on weights of the given precision, nothing else."""
    device = setup.workers.device
    dtype = effective_dtype(case.dtype, device)
    model = reference_style(model).to(dtype).train()
    assert isinstance(model, VideoTransformer)
    model.set_grad_checkpoint(case.checkpoint)
    optimizer = AdamW(model.parameters(), lr=_LR, weight_decay=0.0, fused=True)
    scheduler: Any = build_module(_SCHEDULER, SCHEDULERS)
    batch: LatentBatch = source.read(0)

    def steps(number: int) -> None:
        for _ in range(number):
            tensors = {k: v.to(device) for k, v in batch.items() if isinstance(v, torch.Tensor)}
            latents = tensors.pop("latents").float()
            terms = scheduler.training_losses(model, latents, model_kwargs=tensors)
            terms["loss"].mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        _wait_for(device)

    return steps


def _forget(model: nn.Module) -> None:
    """Leave a model as the next case wants it: no gradients, no compiled blocks."""
    model.zero_grad(set_to_none=True)
    for block in model.modules():
        block._compiled_call_impl = None
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
