"""Parts that every block of the transformers shares.

Axes: B batch, F 1 or T (modulation per sample or per frame), T frames, S tokens of a frame,
D channels.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opensora.models.layers.kernels.choice import TORCH, Kernels


class Mlp(nn.Module):
    """Two linear layers with a tanh-approximated GELU between.

    Args:
        dim: channels in.
        hidden_dim: channels between.
        out_dim: channels out; None = dim.
    """

    def __init__(self, dim: int, hidden_dim: int, out_dim: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, out_dim or dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [..., dim] to [..., out_dim]."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class FinalLayer(nn.Module):
    """Modulated norm and projection to the values of one patch (adaLN-single).

    Args:
        dim: D.
        out_features: values of one patch, all output channels.
        kernels: computes the modulated norm.
    """

    def __init__(self, dim: int, out_features: int, *, kernels: Kernels = TORCH) -> None:
        super().__init__()
        self.modulate = kernels.modulate
        self.scale_shift_table = nn.Parameter(torch.randn(2, dim) / dim**0.5)
        self.linear = nn.Linear(dim, out_features)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        x_mask: Tensor | None = None,
        time_clean: Tensor | None = None,
    ) -> Tensor:
        """Project tokens.

        With x_mask, clean frames are modulated by the noised frames' values first and by their
        own second: so were the released weights trained.

        Args:
            x: [B, T, S, D].
            time: [B, D].
            x_mask: bool [B, T], True = noised frame; None = all are.
            time_clean: [B, D], needed with x_mask.

        Returns:
            [B, T, S, out_features].
        """
        x = self.modulate(x, *self._modulation(time))
        if x_mask is not None:
            assert time_clean is not None
            clean = self.modulate(x, *self._modulation(time_clean))
            x = torch.where(x_mask[:, :, None, None], x, clean)
        return self.linear(x)

    def _modulation(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and scale, each [B, 1, 1, D]."""
        shift, scale = (self.scale_shift_table + time[:, None])[:, :, None, None].unbind(1)
        return shift, scale


class AdaptiveFinalLayer(nn.Module):
    """Norm modulated by a linear layer of the condition, and projection (adaLN of DiT).

    Args:
        dim: D.
        out_features: values of one patch, all output channels.
        kernels: computes the modulated norm.
    """

    def __init__(self, dim: int, out_features: int, *, kernels: Kernels = TORCH) -> None:
        super().__init__()
        self.modulate = kernels.modulate
        self.linear = nn.Linear(dim, out_features)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Project tokens x [B, G, L, D] given condition [B, D] to [B, G, L, out_features]."""
        shift, scale = self.adaLN_modulation(condition)[:, None, None].chunk(2, dim=-1)
        return self.linear(self.modulate(x, shift, scale))


def select_frames(x_mask: Tensor | None, noised: Tensor, clean: Tensor | None) -> Tensor:
    """Modulation of each frame: `noised` where x_mask is True, `clean` elsewhere.

    Args:
        x_mask: bool [B, T]; None = every frame is noised.
        noised: [B, 1, k, D].
        clean: [B, 1, k, D]; needed with x_mask.

    Returns:
        [B, T, k, D], or `noised` itself without a mask.
    """
    if x_mask is None:
        return noised
    assert clean is not None
    return torch.where(x_mask[:, :, None, None], noised, clean)


def block_modulation(table: Tensor, time: Tensor) -> tuple[Tensor, ...]:
    """Learned table plus time: k tensors [B, F, 1, D] that broadcast over [B, T, S, D].

    Args:
        table: [k, D].
        time: [B, F, k, D].
    """
    return (table + time)[:, :, :, None].unbind(2)


def draw_drops(branches: int, like: Tensor, drop_probability: float) -> Tensor:
    """Stochastic depth: which branches of which samples are skipped.

    It is drawn outside of the block: a compiled block would draw others than an eager one, and
    blocks that differ in a number would not share a graph.

    Args:
        branches: gated branches of the block.
        like: [B, ...] on the device.
        drop_probability: chance that a branch of a sample is skipped.

    Returns:
        What gates are divided by, [branches, B, 1, 1, 1] float32: 1 - drop_probability keeps the
        mean, infinity skips.

    Source: Huang et al. 2016, arXiv:1603.09382.
    """
    keep = torch.rand(branches, len(like), 1, 1, 1, device=like.device) >= drop_probability
    return torch.where(keep, 1 - drop_probability, math.inf)


def keep_gates(drops: Tensor | None, *gates: Tensor) -> Sequence[Tensor]:
    """Gates [B, F, 1, D] of a block's branches after stochastic depth, see `draw_drops`."""
    if drops is None:
        return gates
    together = torch.stack(torch.broadcast_tensors(*gates))
    return (together / drops).to(together.dtype).unbind()
