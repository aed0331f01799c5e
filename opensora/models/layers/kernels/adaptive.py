"""Adaptive layer norm and gated residual, fused in Triton: one pass over the tokens each way.

Torch reads and writes the tokens once for the norm and once for the modulation, keeps the normed
tokens for the backward pass, and multiplies before it sums there. These kernels keep the tokens
themselves and two numbers per row.

Moved bytes, 32,768 rows of 1152 channels in bf16, 75.5 MB a tensor: 151 MB there; back 226 MB (x,
gradient, gradient of x) and twice 9 MB for the sums of 1,024 programs: 0.04 and 0.06 ms, 4.2 TB/s.
An H200 needs about 30 KB on their way to each multiprocessor for it (4.8 TB/s, 0.8 microseconds);
nine warps of 220 registers, each at a row of x and one of gradients, have 41 KB. What the host does
for a launch takes longer than all this, so views, casts and launches are few; docs/benchmarks.md
holds it against what an earlier form took.

Axes: R rows (all tokens), D channels, G groups of R / G neighbouring rows with one modulation.
"""

import logging
import subprocess
from functools import lru_cache
from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from opensora.models.layers.kernels.adaptive_triton import (
    gate_backward,
    modulate_backward,
    modulate_forward,
)
from opensora.models.layers.norms import NORM_EPS, add_gated, modulate

log = logging.getLogger(__name__)

INTERPRETED = bool(triton.knobs.runtime.interpret)  # Triton's own CPU mode, for tests
_PROGRAMS = 1024  # of a backward pass, all of which fit on a GPU; each sums a run of rows
_FORWARD_ROWS = 8  # of a program: shift and scale are read once for them
_THREAD = 40  # channels that a thread holds, of which it has four copies
_PROBE_ATOL = 1e-4


def fused_modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """`norms.modulate` in one kernel; under autocast the result has the lower precision at once.

    Args:
        x: [B, ..., D].
        shift: [B, F, 1, D] or the like: axes of x, then ones.
        scale: as shift.
    """
    if not (_serves(x) and _grouped(x, shift) and shift.shape == scale.shape):
        return modulate(x, shift, scale)
    kind = x.device.type  # the result has the type that the next linear layer casts to
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    return _Modulate.apply(x, shift, scale, dtype)


def fused_add_gated(x: Tensor, gate: Tensor, branch: Tensor) -> Tensor:
    """`norms.add_gated` with one kernel for its backward pass; shapes as `fused_modulate`."""
    if not (_serves(x) and _grouped(x, gate) and x.shape == branch.shape):
        return add_gated(x, gate, branch)
    return _AddGated.apply(x, gate, branch)


class _Modulate(torch.autograd.Function):
    """layer_norm(x) * (1 + scale) + shift for x [..., D] of R rows, shift and scale of G."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
        D = x.shape[-1]
        x, shifts, scales = x.contiguous(), _dense_rows(shift), _dense_rows(scale)
        R, G = x.numel() // D, len(shifts)
        out = torch.empty_like(x, dtype=dtype)
        stats = x.new_empty(R, 2, dtype=torch.float32)
        each = min(_FORWARD_ROWS, triton.next_power_of_2(R // G))
        tensors, strides = (x, shifts, scales, out, stats), (shifts.stride(0), scales.stride(0))
        grid = (G * triton.cdiv(R // G, each),)
        with torch.cuda.device_of(x):  # which need not be the current one
            modulate_forward[grid](*tensors, *strides, D, R // G, NORM_EPS, each, **_parts(D))
        ctx.save_for_backward(x, scales, stats)
        ctx.like_shift = shift.shape, shift.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scales, stats = ctx.saved_tensors
        shape, shift_dtype = ctx.like_shift
        G, D = scales.shape
        rows = x.numel() // D // G
        each, chunks = _split_rows(rows, G)
        grad_x = torch.empty_like(x)
        sums = x.new_empty(2, G, chunks, D, dtype=torch.float32)
        tensors = grad.contiguous(), x, scales, stats, grad_x, sums
        modulate_backward[(G * chunks,)](*tensors, scales.stride(0), D, rows, each, **_parts(D))
        both = sums.sum(2).view(2, *shape)  # gradients of shift and scale
        if shift_dtype == scales.dtype:  # as a rule, and then one cast will do
            both = both.to(shift_dtype)
        grad_shift, grad_scale = both.unbind()
        return grad_x, grad_shift.to(shift_dtype), grad_scale.to(scales.dtype), None


class _AddGated(torch.autograd.Function):
    """x + gate * branch; the forward pass is torch's, which needs one kernel as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, branch: Tensor) -> Tensor:
        ctx.save_for_backward(gate, branch)
        ctx.x_dtype = x.dtype
        return torch.addcmul(x, gate, branch)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        gate, branch = ctx.saved_tensors
        D = grad.shape[-1]
        gates, branches = _dense_rows(gate), branch.contiguous()
        G, rows = len(gates), branch.numel() // D // len(gates)
        each, chunks = _split_rows(rows, G)
        grad_branch = torch.empty_like(branches)
        sums = grad.new_empty(G, chunks, D, dtype=torch.float32)
        tensors = grad.contiguous(), gates, branches, grad_branch, sums
        gate_backward[(G * chunks,)](*tensors, gates.stride(0), D, rows, each, **_parts(D))
        grad_gate = sums.sum(1).view(gate.shape).to(gate.dtype)
        return grad.to(ctx.x_dtype), grad_gate, grad_branch


def _grouped(x: Tensor, modulation: Tensor) -> bool:
    """Whether neighbouring rows of x share a row of the modulation: equal axes, then ones."""
    if x.ndim != modulation.ndim or x.shape[-1] != modulation.shape[-1] or not x.numel():
        return False
    axis = 0
    while axis < x.ndim - 1 and x.shape[axis] == modulation.shape[axis]:
        axis += 1
    return x.shape[-1] > 1 and all(length == 1 for length in modulation.shape[axis:-1])


def _dense_rows(x: Tensor) -> Tensor:
    """[..., D] as [G, D] with neighbouring channels; any distance between the rows will do."""
    x = x.reshape(-1, x.shape[-1])
    return x if x.stride(1) == 1 else x.contiguous()


def _split_rows(rows: int, groups: int) -> tuple[int, int]:
    """Rows of a program in a backward pass, and programs that share a group of rows.

    Rows of a program are a power of two, so that few kernels serve all sizes of videos.
    """
    each = triton.next_power_of_2(triton.cdiv(rows * groups, _PROGRAMS))
    return each, triton.cdiv(rows, each)


@lru_cache
def _parts(D: int) -> dict[str, int]:
    """Two powers of two that hold D channels, and the warps of a program: one, if they fit."""
    first = triton.next_power_of_2(D) // 2
    tail = triton.next_power_of_2(D - first)
    warps = triton.next_power_of_2(triton.cdiv(first + tail, 32 * _THREAD))
    return {"FIRST": first, "TAIL": tail, "num_warps": warps}


def _serves(x: Tensor) -> bool:
    if torch.compiler.is_compiling():
        return False  # the compiler fuses torch's own operations as well
    return INTERPRETED or (x.is_cuda and works(x.device))


@lru_cache
def works(device: torch.device) -> bool:
    """Try the forward kernel once on a device; a warning where it can not be built or differs."""
    x = torch.linspace(-1, 1, 48, device=device).view(4, 12).square()
    shift, scale = x[:2], x[2:]
    try:
        with torch.no_grad():
            out = _Modulate.apply(x, shift, scale, x.dtype).view(2, 2, 12)
    except (triton.errors.TritonError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        log.warning("kernel layer norms run in torch: Triton: %s", str(error).split("\n")[0][:200])
        return False
    expected = modulate(x.view(2, 2, 12), shift[:, None], scale[:, None])
    if torch.allclose(out, expected, atol=_PROBE_ATOL):
        return True
    log.warning("kernel layer norms run in torch: Triton's result differs on %s", device)
    return False
