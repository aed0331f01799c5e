"""Attention of short sequences, many of them in one program, in Triton.

Temporal attention of a video of 16 frames is thousands of sequences of 16 tokens. Kernels made for
long sequences give each one a tile of 64 or 128 queries, so most of what they do is padding. Here
a tile of ROWS rows holds as many whole sequences as fit, and a mask keeps them apart. A row of
scores fits into registers, so nothing but q, k, v is kept for the backward pass, which computes
them anew. The kernels read q, k, v where the linear layer has put them and write one gradient of
the same shape; along time they stride over the places, so nobody transposes. RMS norm and rotary
positions of q and k happen on the way.

Moved bytes, (2048 sequences, 16 heads, 16 tokens, 72 channels) in bf16, 75.5 MB a tensor: forward
q k v o, 302 MB; backward q k v, the gradients of o and of q k v, 528 MB; 830 MB in all, 0.20 ms at
the 4.2 TB/s that a plain kernel reaches on an H200. Everything else is less and runs beside it:
9 GFLOP of products in tiles of 16 rows and 80 channels would take 0.02 ms, and issuing all
instructions of the compiled kernels 0.05 ms. docs/benchmarks.md has the prediction, `opensora bench
kernels` measures it.

A NaN of one sequence may reach the others of its tile (0 * NaN), as it would reach the loss.

Axes: B samples, L tokens of a sequence, S sequences of a sample side by side, H heads, d channels
of a head, N = B * S sequences.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from opensora.models.layers.kernels.short_triton import backward_kernel, forward_kernel
from opensora.models.layers.norms import NORM_EPS

_FILLED = 0.75  # share of the rows of a tile that makes a larger one not worth its masked scores


@torch.library.custom_op("opensora::short_attention", mutates_args=())
def short_attention(
    qkv: Tensor,
    num_heads: int,
    q_weight: Tensor | None = None,
    k_weight: Tensor | None = None,
    rotation: Tensor | None = None,
    rotate_first: bool = True,
    rows: int = 0,
) -> Tensor:
    """softmax(q k^T / sqrt(d)) v among the L tokens of each (sample, place).

    Args:
        qkv: [B, L, S, 3 * H * d], as a linear layer gives it; L at most 64, see `ShortKernel`.
        num_heads: H.
        q_weight: [d], RMS-normalise q with it; None = no norm, then of k neither.
        k_weight: [d].
        rotation: [L, d // 2, 2] float32 cosines and sines; None = no rotary positions.
        rotate_first: rotate before the norm, else behind it.
        rows: of a tile, 16, 32 or 64 and no fewer than L; 0 = see `tile`.

    Returns:
        [B, L, S, H * d], type of qkv.
    """
    qkv, (q_weight, k_weight, rotation) = _dense(qkv, q_weight, k_weight, rotation)
    out = qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3)
    grid, sizes = _launch(qkv, num_heads, q_weight, rotation, rotate_first, rows)
    with torch.cuda.device_of(qkv):  # which need not be the current one
        forward_kernel[grid](qkv, q_weight, k_weight, rotation, out, **sizes)
    return out


@torch.library.custom_op("opensora::short_attention_backward", mutates_args=())
def _short_attention_backward(
    grad: Tensor,
    qkv: Tensor,
    num_heads: int,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    rotation: Tensor | None,
    rotate_first: bool,
    rows: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of qkv, q_weight and k_weight; those of missing weights are empty."""
    qkv, (q_weight, k_weight, rotation) = _dense(qkv, q_weight, k_weight, rotation)
    grid, sizes = _launch(qkv, num_heads, q_weight, rotation, rotate_first, rows)
    grad_qkv = torch.empty_like(qkv)
    d = qkv.shape[3] // 3 // num_heads
    # each program has rows of its own: sums in a fixed order are the same in every run
    sums = qkv.new_empty(grid[0] if sizes["NORM"] else 0, 2, d, dtype=torch.float32)
    if sizes["NORM"] or sizes["ROTATE"]:
        sizes["num_warps"] = backward_warps(sizes["num_warps"], d)
    tensors = grad.contiguous(), qkv, q_weight, k_weight, rotation, grad_qkv, sums
    with torch.cuda.device_of(qkv):
        backward_kernel[grid](*tensors, **sizes)
    if q_weight is None or k_weight is None:
        return grad_qkv, qkv.new_empty(0), qkv.new_empty(0)
    grad_q, grad_k = sums.sum(0)  # [d] each
    return grad_qkv, grad_q.to(q_weight.dtype, copy=True), grad_k.to(k_weight.dtype, copy=True)


@short_attention.register_fake
def _(
    qkv: Tensor,
    num_heads: int,
    q_weight: Tensor | None = None,
    k_weight: Tensor | None = None,
    rotation: Tensor | None = None,
    rotate_first: bool = True,
    rows: int = 0,
) -> Tensor:
    return qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3)


@_short_attention_backward.register_fake
def _(
    grad: Tensor,
    qkv: Tensor,
    num_heads: int,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    rotation: Tensor | None,
    rotate_first: bool,
    rows: int,
) -> tuple[Tensor, Tensor, Tensor]:
    weights = [qkv.new_empty(0) if w is None else torch.empty_like(w) for w in (q_weight, k_weight)]
    return qkv.new_empty(qkv.shape), weights[0], weights[1]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    qkv, ctx.num_heads, q_weight, k_weight, rotation, ctx.rotate_first, ctx.rows = inputs
    if rotation is not None and rotation.requires_grad:
        raise ValueError("short_attention gives no gradient of its rotary table")
    ctx.save_for_backward(qkv, q_weight, k_weight, rotation)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    qkv, q_weight, k_weight, rotation = ctx.saved_tensors
    grad_qkv, grad_q, grad_k = _short_attention_backward(
        *(grad, qkv, ctx.num_heads, q_weight, k_weight, rotation, ctx.rotate_first, ctx.rows)
    )
    if q_weight is None:
        return grad_qkv, None, None, None, None, None, None
    return grad_qkv, None, grad_q, grad_k, None, None, None


short_attention.register_autograd(_differentiate, setup_context=_remember)


def _dense(qkv: Tensor, *others: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
    return qkv.contiguous(), [None if one is None else one.contiguous() for one in others]


def tile(tokens: int) -> tuple[int, int]:
    """Rows of a tile, and warps that work at it: the smallest tile that is mostly filled.

    One warp for 16 rows keeps most bytes on their way: 28 such tiles fit on a multiprocessor of
    an H200 in the forward pass, 18 in the backward pass.
    """
    filled = {rows: rows // tokens * tokens / rows for rows in (16, 32, 64)}
    rows = next((rows for rows in filled if filled[rows] >= _FILLED), 0)
    rows = rows or max(filled, key=filled.__getitem__)
    return rows, rows // 16


def backward_warps(warps: int, head_size: int) -> int:
    """Warps of the backward pass with norm or rotation: more where registers would not do."""
    return 2 * warps if warps == 4 or head_size > 80 else warps


def head_parts(head_size: int) -> tuple[int, int]:
    """Two powers of two that hold a head: 72 as 64 + 16 instead of 128.

    Products go by 16 channels, so 64 as 32 + 32 costs no more than in one piece.
    """
    first = triton.next_power_of_2(head_size) // 2
    return first, max(16, triton.next_power_of_2(head_size - first))


def _launch(
    qkv: Tensor,
    num_heads: int,
    q_weight: Tensor | None,
    rotation: Tensor | None,
    rotate_first: bool,
    rows: int,
) -> tuple[tuple[int], dict[str, Any]]:
    """Grid and constants of both kernels."""
    B, L, S, channels = qkv.shape
    d = channels // 3 // num_heads
    rows, warps = (rows, rows // 16) if rows else tile(L)
    first, tail = head_parts(d)
    sizes = {
        **{"sequences": B * S, "side": S, "L": L, "H": num_heads, "D": d},
        **{"FIRST": first, "TAIL": tail, "ROWS": rows, "NORM": q_weight is not None},
        **{"ROTATE": rotation is not None, "ROTATE_FIRST": rotate_first, "EPS": NORM_EPS},
        "SCALE": d**-0.5,
        "num_warps": warps,
    }
    return (num_heads * triton.cdiv(B * S, rows // L),), sizes
