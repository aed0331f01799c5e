"""Speed and memory of the transformers: forward pass and training step, eager and compiled.

Operations are those of the matrix products, counted by torch on the meta device. Recomputation
under checkpointing does not count: rate over peak is the model FLOPs utilisation.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException
from torch._inductor.exc import InductorError
from torch.utils.flop_counter import FlopCounterMode

from opensora.acceleration.precision import autocast, effective_dtype
from opensora.bench.measure import PeakMemory, Stopwatch
from opensora.bench.model_subjects import (
    Settings,
    Subject,
    has_peer,
    our_subject,
    their_subject,
    to_device,
)
from opensora.config.registry import MODELS, check_fields, registered_names
from opensora.core.errors import ConfigError

Mode = Literal["eager", "compiled"]
Task = Literal["forward", "forward+backward"]
TASKS: tuple[Task, Task] = ("forward", "forward+backward")
_MATRIX = 2048  # side of the product that stands for a CPU's peak
# dense matrix products, FLOP/s, from the vendors' data sheets (fp32 without TF32)
_GPU_PEAKS = {
    "B200": {torch.bfloat16: 2250e12, torch.float32: 75e12},
    "H200": {torch.bfloat16: 989e12, torch.float32: 67e12},
    "H100": {torch.bfloat16: 989e12, torch.float32: 67e12},
    "A100": {torch.bfloat16: 312e12, torch.float32: 19.5e12},
    "L40S": {torch.bfloat16: 362e12, torch.float32: 91.6e12},
    "RTX 4090": {torch.bfloat16: 165e12, torch.float32: 82.6e12},
}


@dataclass(frozen=True)
class ModelTiming:
    """One measurement; rates and shares belong to the median time.

    Attributes:
        type: registered name of the model, or that of another library.
        mode: eager or compiled.
        task: forward pass without gradients, or forward and backward pass.
        parameters: numbers in the model.
        tokens: of the batch, after patching.
        seconds: median time.
        fastest: seconds.
        slowest: seconds.
        flops: operations of one run.
        peak_bytes: weights, gradients and activations at their peak.
    """

    type: str
    mode: Mode
    task: Task
    parameters: int
    tokens: int
    seconds: float
    fastest: float
    slowest: float
    flops: int
    peak_bytes: int


def check_types(types: Sequence[str] | None, fields: Mapping[str, Any]) -> list[str]:
    """Check that every name is a registered transformer that takes the fields.

    Returns:
        The names; for None the XL/2 of every registered family, sorted.

    Raises:
        ConfigError: it is not, or does not; names the nearest.
    """
    if types is None:
        types = [name for name in registered_names(MODELS) if name.endswith("-XL/2")]
    for name in types:
        if "hidden_size" not in check_fields({"type": name, **fields}, MODELS):
            raise ConfigError(f"{name} is no transformer; give one such as STDiT-XL/2")
    return list(types)


def measure(
    kind: str, modes: Sequence[Mode], settings: Settings, *, compare: bool = False
) -> list[ModelTiming]:
    """Time one model in each mode, both tasks.

    Args:
        kind: registered name.
        modes: eager, compiled or both.
        settings: sizes, device and precision.
        compare: also time the model of diffusers, where it has one of the same layout.

    Raises:
        ConfigError: an unknown type, no compiler, or too little memory on a GPU.
    """
    makers = [our_subject]
    if compare and has_peer(kind, settings):
        makers.append(their_subject)
    rows = []
    for make in makers:
        operations = count_flops(make, kind, settings)
        torch.manual_seed(0)
        with torch.device(settings.device):
            subject = make(kind, settings)
        rows += _measure_subject(subject, operations, modes, settings)
    return rows


def count_flops(
    make: Callable[[str, Settings], Subject], kind: str, settings: Settings
) -> dict[Task, int]:
    """Operations of one run of each task, two for each multiplication with its addition."""
    meta = torch.device("meta")
    counts: dict[Task, int] = {}
    with meta:
        subject = make(kind, replace(settings, grad_checkpoint=False))
        subject.model.to(meta)  # position tables are made on the CPU
        inputs = to_device(subject.inputs, meta)
        for task in TASKS:
            with FlopCounterMode(display=False) as counter:
                _runner(replace(subject, inputs=inputs), task, meta, torch.float32)()
            counts[task] = counter.get_total_flops()
    return counts


def peak_flops(settings: Settings) -> tuple[float | None, str]:
    """FLOP/s that the device can reach, None where not known, and where the number comes from."""
    device = torch.device(settings.device)
    dtype = effective_dtype(settings.dtype, device)
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for model, peaks in _GPU_PEAKS.items():
            if model in name and dtype in peaks:
                return peaks[dtype], f"data sheet of the {model}"
        return None, f"not known for {name}"
    a, b = torch.randn(2, _MATRIX, _MATRIX).to(dtype)
    times = _time(lambda: a @ b, 5, device)
    return 2 * _MATRIX**3 / min(times), f"best product of {_MATRIX} x {_MATRIX} matrices"


def _measure_subject(
    subject: Subject,
    operations: Mapping[Task, int],
    modes: Sequence[Mode],
    settings: Settings,
) -> list[ModelTiming]:
    """Rows of one model; the same weights serve both modes, eager first."""
    device = torch.device(settings.device)
    dtype = effective_dtype(settings.dtype, device)
    subject.model.to(device)
    weights = list(subject.model.parameters())
    rows = []
    for mode in sorted(modes, reverse=True):  # eager before compiled
        if mode == "compiled":
            subject.compile()
        for task in TASKS:
            run = _runner(subject, task, device, dtype)
            times = _time(run, settings.steps, device)
            subject.model.zero_grad(set_to_none=True)
            with PeakMemory(device) as memory:
                run()
                _wait_for(device)
            rows.append(
                ModelTiming(
                    type=subject.name,
                    mode=mode,
                    task=task,
                    parameters=sum(weight.numel() for weight in weights),
                    tokens=subject.tokens,
                    seconds=statistics.median(times),
                    fastest=min(times),
                    slowest=max(times),
                    flops=operations[task],
                    peak_bytes=memory.added_bytes + sum(weight.nbytes for weight in weights),
                )
            )
    return rows


def _runner(
    subject: Subject, task: Task, device: torch.device, dtype: torch.dtype
) -> Callable[[], object]:
    """One run of a task, without arguments."""

    def predict() -> Tensor:
        with autocast(dtype, device):
            out = subject.model(**subject.inputs)
        return out if isinstance(out, Tensor) else out[0]

    def forward() -> Tensor:
        with torch.no_grad():
            return predict()

    def forward_and_backward() -> None:
        subject.model.zero_grad(set_to_none=True)
        predict().float().square().mean().backward()

    return forward if task == "forward" else forward_and_backward


def _time(run: Callable[[], object], steps: int, device: torch.device) -> list[float]:
    """Seconds of each run, after one to warm up, in which the compiler works."""
    try:
        run()
    except (TorchDynamoException, InductorError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ConfigError(
            f"the model can not be compiled here ({reason}); --compile needs a C++ compiler on a"
            " CPU (set CXX) and Triton on a GPU; leave --compile out to time it without"
        ) from error
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            "the model does not fit into the memory of the GPU; try a smaller --batch-size,"
            " --num-frames or --image-size, or --grad-checkpoint"
        ) from error
    times = []
    for _ in range(steps):
        _wait_for(device)
        with Stopwatch() as watch:
            run()
            _wait_for(device)
        times.append(watch.seconds)
    return times


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timing_heading(settings: Settings, machine: str, peak: float | None, source: str) -> str:
    """What was measured, on what, and what the shares refer to."""
    height, width = settings.image_size
    fields = ", ".join(f"{name}={value}" for name, value in settings.model.items())
    parts = [
        f"{settings.num_frames} frames of {height} x {width} pixels",
        f"batch {settings.batch_size}",
        settings.dtype,
        *([fields] if fields else []),
        *(["gradient checkpointing"] if settings.grad_checkpoint else []),
        f"median of {settings.steps} runs",
    ]
    known = "peak" if peak is None else f"peak {peak / 1e9:,.0f} GFLOP/s"
    return f"{machine}. {', '.join(parts)}. {known[0].upper()}{known[1:]}: {source}."


def timing_table(rows: Sequence[ModelTiming], peak: float | None) -> str:
    """One line for each measurement; a share of the peak (FLOP/s) where it is known."""
    lines = [
        "| model | parameters | run | pass | ms (fastest to slowest) | tokens/s | GFLOP/s | of peak"
        " | memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate = row.flops / row.seconds
        share = "-" if peak is None else f"{rate / peak:.0%}"
        span = f"{row.fastest * 1e3:,.0f} to {row.slowest * 1e3:,.0f}"
        lines.append(
            f"| `{row.type}` | {row.parameters / 1e6:,.0f} M | {row.mode} | {row.task}"
            f" | {row.seconds * 1e3:,.0f} ({span}) | {row.tokens / row.seconds:,.0f}"
            f" | {rate / 1e9:,.0f} | {share}"
            f" | {row.peak_bytes / 1e9:.2f} GB |"
        )
    return "\n".join(lines)
