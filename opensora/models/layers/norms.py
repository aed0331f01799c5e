"""Normalisation and the adaptive shift and scale behind it.

Axes: B batch, D channels; modulations broadcast over the token axes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

NORM_EPS = 1e-6  # of every layer norm and RMS norm here


def layer_norm(x: Tensor) -> Tensor:
    """Layer norm over the last axis without learned weights; the modulation carries them."""
    return F.layer_norm(x, x.shape[-1:], eps=NORM_EPS)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """`layer_norm(x) * (1 + scale) + shift`, with the affine part in one pass.

    Args:
        x: [B, ..., D].
        shift: broadcastable to x.
        scale: broadcastable to x; 0 leaves the normalised values alone.
    """
    return torch.addcmul(shift, layer_norm(x), 1 + scale)


def add_gated(x: Tensor, gate: Tensor, branch: Tensor) -> Tensor:
    """`x + gate * branch` in one pass: the residual update of an adaptive block."""
    return torch.addcmul(x, gate, branch)


class RMSNorm(nn.Module):
    """Divide by the root mean square, times one learned weight per channel, in float32.

    Args:
        dim: channels.

    Source: Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [..., D]; dtype of x."""
        values, weight = x.float(), self.weight.float()
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            return _RmsNorm.apply(values, weight).to(x.dtype)  # type: ignore[no-any-return]
        return F.rms_norm(values, x.shape[-1:], weight, NORM_EPS).to(x.dtype)


class _RmsNorm(torch.autograd.Function):
    """The same in few passes: on a CPU torch takes a dozen, a quarter as fast there and back.

    Axes: x [..., D] float32, weight [D].
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)  # [..., 1]
        inverse = norm.square_().div_(x.shape[-1]).add_(NORM_EPS).rsqrt_()
        unit = x * inverse  # [..., D]
        ctx.save_for_backward(unit, inverse, weight)
        return unit * weight

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        unit, inverse, weight = ctx.saved_tensors
        products = gradient * unit  # [..., D]
        mean = (products @ weight)[..., None] / unit.shape[-1]  # of gradient * weight * unit
        towards = torch.addcmul(gradient * weight, unit, mean, value=-1).mul_(inverse)
        return towards, products.flatten(0, -2).sum(0)
