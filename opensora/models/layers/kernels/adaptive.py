"""Adaptive layer norm and gated residual, fused in Triton: one pass over the tokens each way.

Torch reads and writes the tokens once for the norm and once for the modulation, keeps the normed
tokens for the backward pass, and multiplies before it sums there. These kernels keep the tokens
themselves and two numbers per row.

Axes: R rows (all tokens), D channels, G groups of R / G neighbouring rows with one modulation.
"""

import logging
import subprocess
from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from opensora.models.layers.norms import NORM_EPS, add_gated, modulate

log = logging.getLogger(__name__)

INTERPRETED = bool(triton.knobs.runtime.interpret)  # Triton's own CPU mode, for tests
_PROGRAMS = 1024  # of a backward pass, a few per multiprocessor; each sums a run of rows
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
    D = x.shape[-1]
    kind = x.device.type  # the result has the type that the next linear layer casts to
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    out = _Modulate.apply(x.reshape(-1, D), shift.reshape(-1, D), scale.reshape(-1, D), dtype)
    return out.view(x.shape)


def fused_add_gated(x: Tensor, gate: Tensor, branch: Tensor) -> Tensor:
    """`norms.add_gated` with one kernel for its backward pass; shapes as `fused_modulate`."""
    if not (_serves(x) and _grouped(x, gate) and x.shape == branch.shape):
        return add_gated(x, gate, branch)
    return _AddGated.apply(x, gate, branch)


class _Modulate(torch.autograd.Function):
    """layer_norm(x) * (1 + scale) + shift for x [R, D], shift and scale [G, D]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
        x, shift, scale = x.contiguous(), _dense_rows(shift), _dense_rows(scale)
        R, D = x.shape
        out = torch.empty_like(x, dtype=dtype)
        mean, rstd = x.new_empty(2, R, dtype=torch.float32)
        tensors, strides = (x, shift, scale, out, mean, rstd), (shift.stride(0), scale.stride(0))
        sizes = {"D": D, "rows": R // len(shift), "BLOCK": triton.next_power_of_2(D)}
        with torch.cuda.device_of(x):  # which need not be the current one
            _modulate_forward[(R,)](*tensors, *strides, eps=NORM_EPS, **sizes)
        ctx.save_for_backward(x, scale, mean, rstd)
        ctx.shift_dtype = shift.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, mean, rstd = ctx.saved_tensors
        D = x.shape[1]
        chunks, sizes = _split_rows(x, len(scale))
        grad_x = torch.empty_like(x)
        sums = x.new_empty(2, len(scale), chunks, D, dtype=torch.float32)
        tensors = grad.contiguous(), x, scale, mean, rstd, grad_x, sums[0], sums[1]
        _modulate_backward[(len(scale), chunks)](*tensors, scale.stride(0), **sizes)
        grad_shift, grad_scale = sums.sum(2)  # [G, D] each
        return grad_x, grad_shift.to(ctx.shift_dtype), grad_scale.to(scale.dtype), None


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
        gates = _dense_rows(gate.reshape(-1, D))
        branches = branch.reshape(-1, D).contiguous()
        chunks, sizes = _split_rows(branches, len(gates))
        grad_branch = torch.empty_like(branches)
        sums = grad.new_empty(len(gates), chunks, D, dtype=torch.float32)
        tensors = grad.contiguous(), gates, branches, grad_branch, sums
        _gate_backward[(len(gates), chunks)](*tensors, gates.stride(0), **sizes)
        grad_gate = sums.sum(1).view(gate.shape).to(gate.dtype)
        return grad.to(ctx.x_dtype), grad_gate, grad_branch.view(branch.shape)


def _grouped(x: Tensor, modulation: Tensor) -> bool:
    """Whether neighbouring rows of x share a row of the modulation: equal axes, then ones."""
    if x.ndim != modulation.ndim or x.shape[-1] != modulation.shape[-1] or not x.numel():
        return False
    axis = 0
    while axis < x.ndim - 1 and x.shape[axis] == modulation.shape[axis]:
        axis += 1
    return all(length == 1 for length in modulation.shape[axis:-1])


def _dense_rows(x: Tensor) -> Tensor:
    """[G, D] with neighbouring channels; any distance between the rows will do."""
    return x if x.stride(1) == 1 else x.contiguous()


def _split_rows(x: Tensor, groups: int) -> tuple[int, dict[str, int]]:
    """Programs that share a group of rows of x [R, D], and the sizes that a backward kernel takes.

    Rows of a program are a power of two, so that few kernels serve all sizes of videos.
    """
    R, D = x.shape
    each = triton.next_power_of_2(triton.cdiv(R, _PROGRAMS))
    sizes = {"D": D, "rows": R // groups, "EACH": each, "BLOCK": triton.next_power_of_2(D)}
    return triton.cdiv(R // groups, each), sizes


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


@triton.jit
def _modulate_forward(
    x, shift, scale, out, mean, rstd, shift_stride, scale_stride, D, rows, eps, BLOCK: tl.constexpr
):
    """One row: normalise, modulate, remember its mean and 1 / standard deviation."""
    row = tl.program_id(0).to(tl.int64)
    group = row // rows
    columns = tl.arange(0, BLOCK)
    inside = columns < D
    value = tl.load(x + row * D + columns, mask=inside, other=0.0).to(tl.float32)
    centre = tl.sum(value, 0) / D
    value = tl.where(inside, value - centre, 0.0)
    factor = 1 / tl.sqrt(tl.sum(value * value, 0) / D + eps)
    up = tl.load(scale + group * scale_stride + columns, mask=inside, other=0.0).to(tl.float32)
    add = tl.load(shift + group * shift_stride + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * D + columns, value * factor * (1 + up) + add, mask=inside)
    tl.store(mean + row, centre)
    tl.store(rstd + row, factor)


@triton.jit
def _modulate_backward(
    grad,
    x,
    scale,
    mean,
    rstd,
    grad_x,
    grad_shift,
    grad_scale,
    scale_stride,
    D,
    rows,
    EACH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradient of EACH rows of a group, and their share in those of shift and scale."""
    group = tl.program_id(0).to(tl.int64)
    chunk = tl.program_id(1)
    columns = tl.arange(0, BLOCK)
    inside = columns < D
    up = 1 + tl.load(scale + group * scale_stride + columns, mask=inside, other=0.0).to(tl.float32)
    sum_shift = tl.zeros((BLOCK,), tl.float32)
    sum_scale = tl.zeros((BLOCK,), tl.float32)
    for index in range(EACH):
        row = group * rows + chunk * EACH + index
        there = inside & (chunk * EACH + index < rows)
        centre = tl.load(mean + row, mask=chunk * EACH + index < rows, other=0.0)
        factor = tl.load(rstd + row, mask=chunk * EACH + index < rows, other=0.0)
        normal = tl.load(x + row * D + columns, mask=there, other=0.0).to(tl.float32)
        normal = tl.where(there, (normal - centre) * factor, 0.0)
        slope = tl.load(grad + row * D + columns, mask=there, other=0.0).to(tl.float32)
        sum_shift += slope
        sum_scale += slope * normal
        slope = slope * up
        level = tl.sum(slope, 0) / D
        along = tl.sum(slope * normal, 0) / D
        slope = (slope - level - normal * along) * factor
        tl.store(grad_x + row * D + columns, slope, mask=there)
    place = (group * tl.num_programs(1) + chunk) * D + columns
    tl.store(grad_shift + place, sum_shift, mask=inside)
    tl.store(grad_scale + place, sum_scale, mask=inside)


@triton.jit
def _gate_backward(
    grad,
    gate,
    branch,
    grad_branch,
    grad_gate,
    gate_stride,
    D,
    rows,
    EACH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradient of EACH rows of a group's branch, and their share in that of the gate."""
    group = tl.program_id(0).to(tl.int64)
    chunk = tl.program_id(1)
    columns = tl.arange(0, BLOCK)
    inside = columns < D
    open_by = tl.load(gate + group * gate_stride + columns, mask=inside, other=0.0).to(tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for index in range(EACH):
        there = inside & (chunk * EACH + index < rows)
        place = (group * rows + chunk * EACH + index) * D + columns
        slope = tl.load(grad + place, mask=there, other=0.0).to(tl.float32)
        total += slope * tl.load(branch + place, mask=there, other=0.0).to(tl.float32)
        tl.store(grad_branch + place, slope * open_by, mask=there)
    tl.store(grad_gate + (group * tl.num_programs(1) + chunk) * D + columns, total, mask=inside)
