"""Which kernel is the fastest on this device: forward and backward, timed for about a second.

Axes: N sequences, H heads, L tokens, S text tokens, d channels of a head, D = H * d.
"""

import copy
import logging
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from opensora.models.layers.attention import Attend, Attention, Short, attend
from opensora.models.layers.kernels.backends import backend_attend
from opensora.models.layers.kernels.choice import Adapt, Kernels
from opensora.models.layers.kernels.table import (
    CROSS,
    CROSS_MASKED,
    FUSED,
    NORM_ROWS,
    SELF_TOKENS,
    SHORT_TOKENS,
    TORCH,
    norm_class,
    self_class,
    short_class,
)
from opensora.models.layers.norms import add_gated, modulate
from opensora.models.layers.positions import rotation_table

log = logging.getLogger(__name__)

Run = Callable[[], None]

_TOKENS = 16_384  # of all sequences together: a quarter of a batch of 16x256x256 is as telling
_CROSS = (4, 4096, 120)  # samples, video tokens, text tokens
_WARMUP, _REPEATS = 2, 5
_MARGIN = 0.97  # what replaces torch's own must take less than this share of its time


@dataclass(frozen=True)
class Shape:
    """What of a model decides how fast kernels are.

    Attributes:
        device: where it runs.
        dtype: of matrix products.
        heads: H.
        head_size: d.
        qk_norm: q and k are normalised.
        rotary: time is told by rotation.
    """

    device: torch.device
    dtype: torch.dtype
    heads: int
    head_size: int
    qk_norm: bool
    rotary: bool


def probe(
    shape: Shape, backends: Sequence[str], kernels: Kernels, fixed: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, dict[str, float]]]:
    """Time what could serve each class.

    Args:
        shape: sizes of the model.
        backends: of attention, to hold against torch's own choice.
        kernels: those that the model was built with; fused ones are held against torch's.
        fixed: first word of a class -> its choice; such classes are not timed.

    Returns:
        Class -> choice, and class -> choice -> milliseconds.
    """
    choices: dict[str, str] = {}
    times: dict[str, dict[str, float]] = {}

    def settle(name: str, make: Callable[[], dict[str, Run]]) -> None:
        choices[name] = fixed.get(name.split()[0], "")
        if not choices[name]:
            times[name] = time_runs(make(), shape.device)
            choices[name] = choose(times[name])

    for tokens in SELF_TOKENS:
        settle(self_class(tokens), partial(attention_runs, shape, tokens, backends))
    for name in (CROSS, CROSS_MASKED):
        settle(name, partial(cross_runs, shape, backends, masked=name == CROSS_MASKED))
    for tokens in SHORT_TOKENS:
        short = kernels.short
        if short and short.serves(shape.device, shape.dtype, tokens, shape.head_size):
            other = _function(choices[self_class(tokens)])
            settle(short_class(tokens), partial(short_runs, shape, tokens, short, other))
    if kernels.modulate is not modulate:
        for rows in NORM_ROWS:
            for dtype in dict.fromkeys((torch.float32, shape.dtype)):
                settle(norm_class(rows, dtype), partial(norm_runs, shape, rows, dtype, kernels))
    return choices, times


def choose(times: Mapping[str, float]) -> str:
    """The fastest, or torch's own where nothing is clearly faster."""
    own = times.get(TORCH, math.inf)
    best = min(times, key=times.__getitem__, default=TORCH)
    return best if times.get(best, math.inf) < _MARGIN * own else TORCH


def time_runs(runs: Mapping[str, Run], device: torch.device) -> dict[str, float]:
    """Milliseconds of each run; those that fail or lack memory are left out."""
    times = {}
    for name, run in runs.items():
        try:
            for _ in range(_WARMUP):
                run()
            times[name] = round(statistics.median(_time(run, device) for _ in range(_REPEATS)), 4)
        except (RuntimeError, ImportError) as error:  # memory, or a shape that it does not serve
            log.debug("kernel probe %s: %s", name, str(error).split("\n")[0])
    return times


def _time(run: Run, device: torch.device) -> float:
    """Milliseconds of one run."""
    if device.type != "cuda":
        start = time.perf_counter()
        run()
        return (time.perf_counter() - start) * 1e3
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    run()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last))


def attention_runs(shape: Shape, tokens: int, backends: Sequence[str]) -> dict[str, Run]:
    """Self attention among so many tokens, by torch's own choice and by each backend."""
    size = (max(1, _TOKENS // tokens), shape.heads, tokens, shape.head_size)
    q, k, v = (random_input(shape, size) for _ in range(3))
    return {name: both(_function(name, alone=True), q, k, v) for name in (TORCH, *backends)}


def cross_runs(shape: Shape, backends: Sequence[str], *, masked: bool) -> dict[str, Run]:
    """Attention to captions; masked ones have lengths of their own."""
    samples, tokens, text = _CROSS
    q = random_input(shape, (samples, shape.heads, tokens, shape.head_size))
    k, v = (random_input(shape, (samples, shape.heads, text, shape.head_size)) for _ in range(2))
    mask = None
    if masked:
        lengths = torch.linspace(1, text, samples, device=shape.device)
        mask = (torch.arange(text, device=shape.device) < lengths[:, None])[:, None, None]
    return {name: both(_function(name, alone=True), q, k, v, mask) for name in (TORCH, *backends)}


def short_runs(shape: Shape, tokens: int, short: Short, attend: Attend) -> dict[str, Run]:
    """A layer of temporal attention: the best of the others inside, and the kernel."""
    width = shape.heads * shape.head_size
    x = random_input(shape, (1, tokens, _TOKENS // tokens, width))
    layer = Attention(width, shape.heads, qk_norm=shape.qk_norm, attend=attend).to(shape.device)
    rotation = None
    if shape.rotary:
        rotation = rotation_table(tokens, shape.head_size, device=shape.device)
    fused = copy.copy(layer)
    fused.short = short
    return {
        TORCH: both(lambda x: layer.along_time(x, rotation), x),
        FUSED: both(lambda x: fused.along_time(x, rotation), x),
    }


def norm_runs(shape: Shape, rows: int, dtype: torch.dtype, kernels: Kernels) -> dict[str, Run]:
    """A modulated norm and a gate of so many tokens, by torch and fused."""
    width = shape.heads * shape.head_size
    size = (1, 1, rows, width)
    x = random_input(shape, size).to(dtype).detach().requires_grad_()
    shift, scale = (random_input(shape, (1, 1, 1, width)) for _ in range(2))

    def run(adapt: Adapt, gate: Adapt) -> Run:
        return both(lambda *inputs: gate(inputs[0], inputs[1], adapt(*inputs)), x, shift, scale)

    return {TORCH: run(modulate, add_gated), FUSED: run(kernels.modulate, kernels.add_gated)}


def _function(name: str, *, alone: bool = False) -> Attend:
    return attend if name == TORCH else backend_attend(name, alone=alone)


def random_input(shape: Shape, size: tuple[int, ...]) -> Tensor:
    """Normal numbers of the device and type of a shape, the same each time."""
    generator = torch.Generator(shape.device).manual_seed(0)
    values = torch.randn(size, generator=generator, device=shape.device, dtype=shape.dtype)
    return values.requires_grad_()


def forward(function: Callable[..., Tensor], *inputs: Tensor | None) -> Run:
    """Forward pass alone of a function of some inputs, in the precision of the last one."""
    device, dtype = _place(inputs)

    def run() -> None:
        with torch.no_grad(), torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
            function(*inputs)

    return run


def both(function: Callable[..., Tensor], *inputs: Tensor | None) -> Run:
    """Forward and backward pass of a function, to all inputs that take a gradient."""
    device, dtype = _place(inputs)
    wanted = [one for one in inputs if one is not None and one.requires_grad]

    def run() -> None:
        with (
            torch.enable_grad(),
            torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32),
        ):
            out = function(*inputs)
        torch.autograd.grad(out, wanted, grad_outputs=torch.ones_like(out))

    return run


def _place(inputs: Sequence[Tensor | None]) -> tuple[str, torch.dtype]:
    last = [one for one in inputs if one is not None and one.requires_grad][-1]
    return last.device.type, last.dtype
