"""The Triton side of `adaptive`: a warp takes neighbouring rows, one after the other.

A row of 1152 channels is 36 numbers of each thread of a warp, so its sums need no shared memory and
no barrier; shift, scale and the sums over rows stay in registers. The channels are held in two
parts, FIRST and TAIL, so that 1152 costs 1152 and not 2048. All arithmetic is float32.

Axes: R rows (all tokens), D channels, G groups of R / G neighbouring rows with one modulation.
"""

import triton
import triton.language as tl


@triton.jit
def modulate_forward(
    x, shift, scale, out, stats, shift_stride, scale_stride, D, rows, eps,
    EACH: tl.constexpr, FIRST: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    """Normalise and modulate EACH rows; `stats` [R, 2] gets their means and 1 / deviations."""
    group, chunk = _place(rows, EACH)
    there = tl.full((), 1, tl.int1)
    up0, up1 = _load(scale + group * scale_stride, there, D, FIRST, TAIL)
    add0, add1 = _load(shift + group * shift_stride, there, D, FIRST, TAIL)
    inside = FIRST + tl.arange(0, TAIL) < D
    for index in range(EACH):
        row = chunk * EACH + index
        there = row < rows
        place = group * rows + row
        x0, x1 = _load(x + place * D, there, D, FIRST, TAIL)
        centre = (tl.sum(x0, 0) + tl.sum(x1, 0)) / D
        x0, x1 = x0 - centre, tl.where(inside, x1 - centre, 0.0)
        factor = 1 / tl.sqrt((tl.sum(x0 * x0, 0) + tl.sum(x1 * x1, 0)) / D + eps)
        x0, x1 = x0 * factor * (1 + up0) + add0, x1 * factor * (1 + up1) + add1
        _store(out + place * D, there, x0, x1, D, FIRST, TAIL)
        tl.store(stats + 2 * place, centre, mask=there)
        tl.store(stats + 2 * place + 1, factor, mask=there)


@triton.jit
def modulate_backward(
    grad, x, scale, stats, grad_x, sums, scale_stride, D, rows,
    EACH: tl.constexpr, FIRST: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    """Gradient of EACH rows; `sums` [2, G, programs of a group, D] gets their share in the rest.

    The share is that in the gradients of shift and of scale.
    """
    group, chunk = _place(rows, EACH)
    there = tl.full((), 1, tl.int1)
    up0, up1 = _load(scale + group * scale_stride, there, D, FIRST, TAIL)
    inside = FIRST + tl.arange(0, TAIL) < D
    shift0, shift1 = tl.zeros((FIRST,), tl.float32), tl.zeros((TAIL,), tl.float32)
    scale0, scale1 = tl.zeros((FIRST,), tl.float32), tl.zeros((TAIL,), tl.float32)
    for index in range(EACH):
        row = chunk * EACH + index
        there = row < rows
        place = group * rows + row
        centre = tl.load(stats + 2 * place, mask=there, other=0.0)
        factor = tl.load(stats + 2 * place + 1, mask=there, other=0.0)
        x0, x1 = _load(x + place * D, there, D, FIRST, TAIL)
        slope0, slope1 = _load(grad + place * D, there, D, FIRST, TAIL)
        x0, x1 = (x0 - centre) * factor, tl.where(inside, (x1 - centre) * factor, 0.0)
        shift0, shift1 = shift0 + slope0, shift1 + slope1
        scale0, scale1 = scale0 + slope0 * x0, scale1 + slope1 * x1
        slope0, slope1 = slope0 * (1 + up0), slope1 * (1 + up1)
        level = (tl.sum(slope0, 0) + tl.sum(slope1, 0)) / D
        along = (tl.sum(slope0 * x0, 0) + tl.sum(slope1 * x1, 0)) / D
        slope0 = (slope0 - level - x0 * along) * factor
        slope1 = (slope1 - level - x1 * along) * factor
        _store(grad_x + place * D, there, slope0, slope1, D, FIRST, TAIL)
    there = tl.full((), 1, tl.int1)
    mine = tl.program_id(0).to(tl.int64)
    second = tl.num_programs(0) + mine
    _store(sums + mine * D, there, shift0, shift1, D, FIRST, TAIL)
    _store(sums + second * D, there, scale0, scale1, D, FIRST, TAIL)


@triton.jit
def gate_backward(
    grad, gate, branch, grad_branch, sums, gate_stride, D, rows,
    EACH: tl.constexpr, FIRST: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    """Gradient of EACH rows of a branch; `sums` [G, programs of a group, D] gets their share."""
    group, chunk = _place(rows, EACH)
    there = tl.full((), 1, tl.int1)
    gate0, gate1 = _load(gate + group * gate_stride, there, D, FIRST, TAIL)
    sum0, sum1 = tl.zeros((FIRST,), tl.float32), tl.zeros((TAIL,), tl.float32)
    for index in range(EACH):
        row = chunk * EACH + index
        there = row < rows
        place = (group * rows + row) * D
        slope0, slope1 = _load(grad + place, there, D, FIRST, TAIL)
        x0, x1 = _load(branch + place, there, D, FIRST, TAIL)
        sum0, sum1 = sum0 + slope0 * x0, sum1 + slope1 * x1
        _store(grad_branch + place, there, slope0 * gate0, slope1 * gate1, D, FIRST, TAIL)
    there = tl.full((), 1, tl.int1)
    mine = tl.program_id(0).to(tl.int64)
    _store(sums + mine * D, there, sum0, sum1, D, FIRST, TAIL)


@triton.jit
def _place(rows, EACH: tl.constexpr):
    """Group of this program, and its number within the group."""
    programs = tl.cdiv(rows, EACH)
    return (tl.program_id(0) // programs).to(tl.int64), tl.program_id(0) % programs


@triton.jit
def _load(source, there, D, FIRST: tl.constexpr, TAIL: tl.constexpr):
    """Both parts of a row as float32; 0 if it is not there."""
    b = FIRST + tl.arange(0, TAIL)
    first = tl.load(source + tl.arange(0, FIRST), mask=there, other=0.0)
    tail = tl.load(source + b, mask=there & (b < D), other=0.0)
    return first.to(tl.float32), tail.to(tl.float32)


@triton.jit
def _store(target, there, first, tail, D, FIRST: tl.constexpr, TAIL: tl.constexpr):
    b = FIRST + tl.arange(0, TAIL)
    kind = target.dtype.element_ty
    tl.store(target + tl.arange(0, FIRST), first.to(kind), mask=there)
    tl.store(target + b, tail.to(kind), mask=there & (b < D))
