"""What a training step does with its time: products, attention, all else, nothing."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

# of kernels on a GPU, and of torch's operations on a CPU; attention is looked for first
_ATTENTION = re.compile(
    r"attention|attn|sdpa|flash|fmha|mha_|(?:^|\W)(?:forward_kernel|backward_kernel)", re.IGNORECASE
)
_PRODUCTS = re.compile(
    r"gemm|cutlass|cublas|nvjet|xmma|\bmm\b|addmm|bmm|mkldnn_linear|convolution|conv[23]d"
    r"|triton_tem",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Shares:
    """Parts of a step's time, which sum to 1.

    Attributes:
        products: matrix products.
        attention: softmax attention, its own products included.
        elementwise: everything else that computes or copies.
        idle: nothing runs on the device; 0 on a CPU, where something always does.
    """

    products: float
    attention: float
    elementwise: float
    idle: float


def kind_of(name: str) -> str:
    """Which field of `Shares` a kernel or an operation belongs to."""
    if _ATTENTION.search(name):
        return "attention"
    return "products" if _PRODUCTS.search(name) else "elementwise"


def profile_shares(step: Callable[[], None], device: torch.device) -> Shares:
    """Run a step under the profiler.

    Args:
        step: waits for the device at its end.
        device: where it computes.
    """
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities, acc_events=True) as profiler:
        step()
    if on_gpu:
        return _of_kernels(
            (event.name, event.time_range.start, event.time_range.end)
            for event in profiler.events()
            if event.device_type == DeviceType.CUDA and not event.is_user_annotation
        )
    spent = dict.fromkeys(("products", "attention", "elementwise"), 0.0)
    for row in profiler.key_averages():
        spent[kind_of(row.key)] += row.self_cpu_time_total
    total = sum(spent.values()) or 1.0
    return Shares(**{name: value / total for name, value in spent.items()}, idle=0.0)


def _of_kernels(kernels: Iterable[tuple[str, float, float]]) -> Shares:
    """Shares from (name, start, end) of kernels; where two overlap the later one counts less."""
    spent = dict.fromkeys(("products", "attention", "elementwise"), 0.0)
    begin = reached = None
    for name, start, end in sorted(kernels, key=lambda kernel: kernel[1]):
        begin = start if begin is None else begin
        from_there = start if reached is None else max(start, reached)
        spent[kind_of(name)] += max(end - from_there, 0.0)
        reached = end if reached is None else max(reached, end)
    if begin is None or reached is None or reached <= begin:
        return Shares(0.0, 0.0, 0.0, 1.0)
    parts = {name: value / (reached - begin) for name, value in spent.items()}
    return Shares(**parts, idle=max(1 - sum(parts.values()), 0.0))
