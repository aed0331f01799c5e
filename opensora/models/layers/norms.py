"""Normalisation and the adaptive shift and scale behind it.

Axes: B batch, D channels; modulations broadcast over the token axes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        return F.rms_norm(x.float(), x.shape[-1:], self.weight.float(), NORM_EPS).to(x.dtype)
