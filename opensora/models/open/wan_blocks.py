"""Wan's blocks in fewer passes over the tokens, for a CPU in eager mode; same numbers.

Axes: B batch, N video tokens, S text tokens, D channels, H heads, d channels of a head.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from opensora.models.layers.kernels.host import attend_by_size, norm_modulate, norm_rotate


class Places(NamedTuple):
    """What the blocks are told instead of diffusers' rotary tables.

    Attributes:
        turns: [1, N, 1, d / 2] complex64.
        bias: [B, 1, 1, S] float32, added to the scores of text tokens; None = 0.
    """

    turns: Tensor
    bias: Tensor | None


class LeanBlock(nn.Module):
    """In front of diffusers' WanTransformerBlock: the same weights and numbers.

    Told diffusers' tables it is diffusers' block, told `Places` that of this module.
    """

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        rotary_emb: Any,
    ) -> Tensor:
        """One block.

        Args:
            hidden_states: [B, N, D].
            encoder_hidden_states: [B, S, D].
            temb: [B, 6, D], or [B, N, 6, D] where tokens have timesteps of their own.
            rotary_emb: `Places`, or what diffusers takes.

        Returns:
            [B, N, D].
        """
        block: Any = self
        x, text = hidden_states, encoder_hidden_states
        if not isinstance(rotary_emb, Places):
            network: Any = super()
            return network.forward(x, text, temb, rotary_emb)  # type: ignore[no-any-return]
        table = block.scale_shift_table
        if temb.ndim == 3:
            parts = (table + temb.float()).chunk(6, dim=1)  # of [B, 1, D]
        else:
            parts = [part.squeeze(2) for part in (table[None] + temb.float()).chunk(6, dim=2)]
        shift, scale, gate, ff_shift, ff_scale, ff_gate = parts
        # 1. self attention
        branch = attend(block.attn1, _adapt(block.norm1, x, shift, scale), None, rotary_emb)
        x = _add_gated(x, gate, branch)
        # 2. the text
        x = x + attend(block.attn2, block.norm2(x), text, rotary_emb)
        # 3. feed-forward
        return _add_gated(x, ff_gate, block.ffn(_adapt(block.norm3, x, ff_shift, ff_scale)))


def attend(layer: Any, x: Tensor, text: Tensor | None, places: Places) -> Tensor:
    """One of diffusers' WanAttention; [B, N, D] of the text [B, S, D], or of x itself."""
    keys = x if text is None else text
    q, k, v = layer.to_q(x), layer.to_k(keys), layer.to_v(keys)
    turns, bias = (places.turns, None) if text is None else (None, places.bias)
    heads = layer.heads
    queries = norm_rotate(q, layer.norm_q.weight, turns, heads, layer.norm_q.eps)
    found = norm_rotate(k, layer.norm_k.weight, turns, heads, layer.norm_k.eps)
    out = attend_by_size(queries, found, v.unflatten(-1, (heads, -1)), bias, v.dtype)
    return layer.to_out[0](out)  # type: ignore[no-any-return]


def _adapt(norm: Any, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    if shift.shape[1] == 1:
        return norm_modulate(x, shift, scale, norm.eps)
    return torch.addcmul(shift, norm(x.float()), 1 + scale).type_as(x)


def _add_gated(x: Tensor, gate: Tensor, branch: Tensor) -> Tensor:
    return torch.addcmul(x, gate.type_as(x), branch.type_as(x))


def turns_of(tables: tuple[Tensor, Tensor]) -> Tensor:
    """Tables of diffusers, of cosines and sines [1, N, 1, d], each twice, as [1, N, 1, d / 2]."""
    cosines, sines = tables
    return torch.complex(cosines[..., 0::2].float(), sines[..., 1::2].float())


def fold_padding(text: Tensor) -> tuple[Tensor, Tensor | None]:
    """Leave out most of what pads the captions of a batch, which is zero.

    Tokens that are equal have equal keys and values, whatever the layers: one with the logarithm of
    their number added to its score is as good as all of them.

    Args:
        text: [B, S, D], zero beyond each caption.

    Returns:
        The text up to one token beyond the longest caption, and what is added to the scores
        [B, 1, 1, S]; None where nothing is left out.
    """
    S = text.shape[1]
    filled = (text != 0).any(-1)  # [B, S]
    ends = torch.where(filled, torch.arange(1, S + 1), 0).amax(1)  # [B]
    kept = min(int(ends.max()) + 1, S)
    if kept == S:
        return text, None
    of_each = (S - ends) / (kept - ends)  # tokens that one of the padding stands for
    is_padding = torch.arange(kept) >= ends[:, None]  # [B, kept]
    bias = torch.where(is_padding, of_each.log()[:, None], 0.0)
    return text[:, :kept], bias[:, None, None]
