"""What a block of adaptive norms and rotary attention is made of, in few passes over the tokens.

For a CPU in eager mode, where each operation of torch reads and writes all tokens once: diffusers'
own blocks take 14 there and back for a norm, its scale and its shift, and 30 for a rotation.

Axes: B samples, L queries, S keys, D channels, H heads, d channels of a head.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_FEW = 512  # queries up to which torch's attention in bf16 takes 1 to 4 times as long as in fp32
_LARGE = 1 << 14  # values of a sample from which a call for each of them is cheaper


def norm_modulate(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """`layer_norm(x) * (1 + scale) + shift`, computed in float32.

    Args:
        x: [B, L, D].
        shift: [B, 1, D] float32.
        scale: [B, 1, D] float32.
        eps: of the norm.

    Returns:
        [B, L, D], dtype of x.
    """
    return _NormModulate.apply(x, shift, scale, eps)  # type: ignore[no-any-return]


def norm_rotate(x: Tensor, weight: Tensor, places: Tensor | None, heads: int, eps: float) -> Tensor:
    """RMS norm over all heads, then the rotation of neighbouring channels by their place.

    Args:
        x: [B, L, D].
        weight: [D] of the norm.
        places: [1, L, 1, d / 2] complex64, by what pairs of channels are multiplied; None = no
            rotation.
        heads: H.
        eps: of the norm.

    Returns:
        [B, L, H, d] float32.
    """
    return _NormRotate.apply(x.float(), weight.float(), places, heads, eps)  # type: ignore[no-any-return]


def attend_by_size(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """Attention in the type that is faster for so many queries; in float32 for float32.

    Args:
        q: [B, L, H, d].
        k: [B, S, H, d].
        v: [B, S, H, d].
        bias: float32 [B, 1, 1, S], added to the scores; None = 0.
        dtype: of the products around it, and of the result.

    Returns:
        [B, L, H d].
    """
    inner = torch.float32 if q.shape[1] <= _FEW else dtype
    q, k, v = (x.to(inner).transpose(1, 2) for x in (q, k, v))
    mask = None if bias is None else bias.to(inner)
    with torch.autocast("cpu", enabled=False):
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return out.transpose(1, 2).flatten(2).to(dtype)


class _NormModulate(torch.autograd.Function):
    """A layer norm whose weights are those of a sample: torch's own kernel, once for each."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
        size, weight = x.shape[-1:], 1 + scale
        ctx.size = size
        ctx.each = x[0].numel() >= _LARGE
        if ctx.each:
            parts = [
                torch.native_layer_norm(one, size, w[0], b[0], eps)
                for one, w, b in zip(x, weight, shift, strict=True)
            ]
            out, mean, inverse = (torch.stack(part) for part in zip(*parts, strict=True))
        else:
            normed, mean, inverse = torch.native_layer_norm(x.float(), size, None, None, eps)
            out = torch.addcmul(shift, normed, weight).to(x.dtype)
        ctx.save_for_backward(x, weight, mean, inverse)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, inverse = ctx.saved_tensors
        back = torch.ops.aten.native_layer_norm_backward
        if ctx.each:
            gradient, shift = gradient.contiguous(), x.new_zeros(x.shape[-1], dtype=weight.dtype)
            parts = [
                back(g, one, ctx.size, m, i, w[0], shift, [True, True, True])
                for g, one, m, i, w in zip(gradient, x, mean, inverse, weight, strict=True)
            ]
            of_x, of_scale, of_shift = (torch.stack(part) for part in zip(*parts, strict=True))
            return of_x, of_shift[:, None], of_scale[:, None], None
        values, gradient = x.float(), gradient.float()
        normed = (values - mean) * inverse
        of_scale = (gradient * normed).sum(1, keepdim=True)
        of_shift = gradient.sum(1, keepdim=True)
        of_normed = gradient * weight
        of_x, _, _ = back(
            of_normed, values, ctx.size, mean, inverse, None, None, [True, False, False]
        )
        return of_x.to(x.dtype), of_shift, of_scale, None


class _NormRotate(torch.autograd.Function):
    """The norm of `layers.norms.RMSNorm` and a complex product."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, places: Tensor | None, heads: int, eps: float
    ) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)  # [B, L, 1]
        inverse = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        unit = x * inverse  # [B, L, D]
        out = (unit * weight).unflatten(-1, (heads, -1))  # [B, L, H, d]
        if places is not None:
            _pairs(out).mul_(places)
        ctx.save_for_backward(unit, inverse, weight, places)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        unit, inverse, weight, places = ctx.saved_tensors
        gradient = gradient.contiguous()
        if places is not None:
            gradient = torch.view_as_real(_pairs(gradient) * places.conj())
        gradient = gradient.flatten(2).view(unit.shape)  # [B, L, D]
        products = gradient * unit
        mean = (products @ weight)[..., None] / unit.shape[-1]  # of gradient * weight * unit
        towards = torch.addcmul(gradient * weight, unit, mean, value=-1).mul_(inverse)
        return towards, products.flatten(0, -2).sum(0), None, None, None


def _pairs(x: Tensor) -> Tensor:
    """[..., d] as complex [..., d / 2]; shares its memory."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))
