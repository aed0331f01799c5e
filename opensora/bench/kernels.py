"""What `bench kernels` measures: each kernel at the shapes of XL/2, against what it replaces.

The cases stand in `kernel_cases`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from opensora.bench.kernel_cases import (
    Case,
    Function,
    attention_cases,
    cross_cases,
    norm_cases,
    short_cases,
)
from opensora.bench.measure import machine
from opensora.core.errors import ConfigError
from opensora.models.layers.kernels.probe import Shape, both, forward, time_runs

GOAL_MS = 0.6  # forward and backward of short attention, 2048 x 16 tokens, on an H200
GOAL_CASE = "short_attention 2048 x 16"
HEADS, HEAD_SIZE = 16, 72
_CPU_SHARE = 64  # a CPU takes a sixty-fourth of the sequences, to show that the command works


@dataclass(frozen=True)
class KernelTiming:
    """One measurement.

    Attributes:
        case: what is computed, and at which shape.
        kernel: by what.
        forward_ms: median of the forward pass; None where it failed.
        both_ms: median of forward and backward pass; None where it failed.
        least_gb: what must be moved there and back, every tensor once, in 1e9 bytes.
        error: largest difference of output and gradients from torch in float32, over their largest.
    """

    case: str
    kernel: str
    forward_ms: float | None
    both_ms: float | None
    least_gb: float
    error: float | None


def measure_kernels(names: Sequence[str], device: torch.device) -> list[KernelTiming]:
    """Time the named groups of cases.

    Raises:
        ConfigError: an unknown name.
    """
    for name in names:
        if name not in GROUPS:
            raise ConfigError(f"--cases {name}: expected some of {', '.join(GROUPS)}")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    shape = Shape(device, dtype, HEADS, HEAD_SIZE, qk_norm=False, rotary=False)
    share = 1 if device.type == "cuda" else _CPU_SHARE
    rows = []
    for name in names:
        for case in GROUPS[name](shape, share):
            rows += _measure(case, device)
    return rows


def _measure(case: Case, device: torch.device) -> list[KernelTiming]:
    exact = _results(next(iter(case.functions.values())), case.inputs, torch.float32)
    rows = []
    for kernel, function in case.functions.items():
        runs = {
            "forward": forward(function, *case.inputs),
            "both": both(function, *case.inputs),
        }
        times = time_runs(runs, device)
        error = None
        if len(times) == len(runs):
            found = _results(function, case.inputs, case.inputs[-1].dtype)
            error = max(_distance(a, b) for a, b in zip(found, exact, strict=True))
        row = KernelTiming(
            *(case.name, kernel, times.get("forward"), times.get("both"), case.least_gb, error)
        )
        rows.append(row)
    return rows


def _results(function: Function, inputs: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Output and gradients, with inputs of a type."""
    inputs = [one.detach().to(dtype).requires_grad_() for one in inputs]
    with torch.enable_grad():
        out = function(*inputs)
        slope = torch.linspace(-1, 1, out.shape[-1], device=out.device).to(out.dtype)
        return [out.detach(), *torch.autograd.grad(out, inputs, slope.expand_as(out))]


def _distance(found: Tensor, exact: Tensor) -> float:
    return float((found.float() - exact.float()).abs().max() / exact.abs().max())


GROUPS = {
    "short_attention": short_cases,
    "attention": attention_cases,
    "cross_attention": cross_cases,
    "layer_norm": norm_cases,
}


def heading(device: torch.device) -> str:
    """What the table is of."""
    if device.type == "cuda":
        return f"{machine()}, bf16, {HEADS} heads of {HEAD_SIZE}"
    return f"{machine()}, fp32, {HEADS} heads of {HEAD_SIZE}, 1 of {_CPU_SHARE} sequences"


def kernel_table(rows: Sequence[KernelTiming]) -> str:
    """A Markdown table of the measurements."""
    lines = [
        "| case | kernel | forward ms | forward+backward ms | GB/s of the least | error |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if row.forward_ms is None or row.both_ms is None or row.error is None:
            lines.append(f"| {row.case} | {row.kernel} | does not serve | | | |")
            continue
        speed = row.least_gb / row.both_ms * 1e3
        cells = f"{row.forward_ms:.3f} | {row.both_ms:.3f} | {speed:,.0f} | {row.error:.1e}"
        lines.append(f"| {row.case} | {row.kernel} | {cells} |")
    return "\n".join(lines)


def kernel_summary(rows: Sequence[KernelTiming]) -> str:
    """How the goal stands, in one line."""
    for row in rows:
        if row.case == GOAL_CASE and row.kernel == "fused" and row.both_ms is not None:
            verdict = "reached" if row.both_ms <= GOAL_MS else "missed"
            return f"{row.case}: {row.both_ms:.3f} ms forward+backward, goal {GOAL_MS} {verdict}"
    return f"{len(rows)} measurements; the goal of short attention needs a GPU and Triton"
