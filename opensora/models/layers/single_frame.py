"""Attention along time in a model that makes images: one product.

A token that attends to itself alone gets its own value, whatever its query and key are. So of
attention along time with one frame two linear layers remain, of values and behind the attention,
and two linear layers in a row are one.

Axes: B batch, T frames, S tokens of a frame, D channels.
"""

from typing import Any

import torch
from torch import Tensor, nn

from opensora.models.layers.attention import Attention
from opensora.models.layers.transformer import VideoTransformer


class SingleFrameAttention(nn.Module):
    """What `Attention.along_time` gives for one frame; it only computes.

    Args:
        attention: along time.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        value, out = attention.qkv, attention.proj
        dim = out.in_features
        weight, bias = value.weight[-dim:].float(), value.bias[-dim:].float()
        self.linear = nn.Linear(dim, dim, device=out.weight.device, dtype=out.weight.dtype)
        self.linear.weight.copy_(out.weight.float() @ weight)
        self.linear.bias.copy_(out.weight.float() @ bias + out.bias.float())

    def along_time(self, x: Tensor, rotation: Tensor | None = None) -> Tensor:
        """Attend among the tokens of each place.

        Args:
            x: [B, 1, S, D].
            rotation: not looked at.

        Returns:
            [B, 1, S, D].
        """
        out: Tensor = self.linear(x)
        return out


@torch.no_grad()
def join_single_frames(model: nn.Module, size: tuple[int, int, int]) -> None:
    """Replace attention along time where a model will see one frame only.

    Args:
        model: in evaluation mode; where it is replaced, other lengths give wrong results.
        size: latent (T, H, W) of all that it will be given.
    """
    if not isinstance(model, VideoTransformer) or model.grid_size(size)[0] > 1:
        return
    for block in model.all_blocks:
        name = "attn" if getattr(block, "temporal", False) else "attn_temp"
        attention: Any = getattr(block, name, None)
        if isinstance(attention, Attention):
            setattr(block, name, SingleFrameAttention(attention))
