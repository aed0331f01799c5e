"""Self attention and text cross attention.

Axes: N sequences, L tokens, H heads, d channels of a head, D = H * d, S text tokens.
"""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opensora.models.layers.norms import RMSNorm
from opensora.models.layers.positions import rotate
from opensora.models.layers.shared_tokens import SharedTokens

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]

BlockText = Tensor | tuple[Tensor, Tensor]
"""A text as a block takes it: [N, S, D], or ready keys and values, each [N, H, S, d]."""


class Short(Protocol):
    """A kernel that positions, normalises and attends in one, for short sequences."""

    def serves(self, device: torch.device, dtype: torch.dtype, tokens: int, head_size: int) -> bool:
        """Whether it can, and shall, take sequences of so many tokens."""

    def attend(
        self,
        qkv: Tensor,
        num_heads: int,
        q_weight: Tensor | None,
        k_weight: Tensor | None,
        rotation: Tensor | None,
        rotate_first: bool,
    ) -> Tensor:
        """Attention of qkv [B, L, S, 3 * D] along L; [B, L, S, D]."""


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v.

    Half precision is computed in float32 on a CPU: at the lengths of a small model its bfloat16
    kernel is five to ten times slower.

    Args:
        q: [N, H, L, d].
        k: [N, H, S, d].
        v: [N, H, S, d].
        mask: bool, broadcastable to [N, H, L, S]; True = attend. A row without any True gives 0.

    Returns:
        [N, H, L, d], dtype of v.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    with torch.autocast("cpu", enabled=False):
        out = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask)
    return out.to(v.dtype)


class Attention(nn.Module):
    """Multi-head self attention, optionally with rotary positions and normalised q and k.

    Args:
        dim: channels D.
        num_heads: heads H; divides dim.
        qk_norm: RMS-normalise q and k with learned weights.
        qk_norm_legacy: rotate before normalising, as the released STDiT2 weights expect.
        attend: computes the attention.
        short: takes short sequences where it serves; None = never.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        qk_norm: bool = False,
        qk_norm_legacy: bool = True,
        attend: Attend = attend,
        short: Short | None = None,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} is not divisible by num_heads {num_heads}")
        self.num_heads = num_heads
        self.qk_norm = qk_norm
        self.qk_norm_legacy = qk_norm_legacy
        self.attend = attend
        self.short = short
        self.qkv = nn.Linear(dim, 3 * dim)
        if qk_norm:
            self.q_norm = RMSNorm(dim // num_heads)
            self.k_norm = RMSNorm(dim // num_heads)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, rotation: Tensor | None = None) -> Tensor:
        """Attend within each sequence.

        Args:
            x: [N, L, D].
            rotation: [L, d // 2, 2] cosines and sines; None = no rotary positions.

        Returns:
            [N, L, D].
        """
        N, L, D = x.shape
        if self._is_short(x, L):
            return self._attend_short(x[:, :, None], rotation)[:, :, 0]
        q, k, v = self.qkv(x).view(N, L, 3, self.num_heads, -1).unbind(2)
        if rotation is not None or self.qk_norm:
            q, k = self._rotate_and_norm(q.float(), k.float(), rotation)
            if q.device.type != "cpu":  # a CPU attends in float32 anyway
                q, k = q.to(v.dtype), k.to(v.dtype)
        out = self.attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), None)
        return self.proj(out.transpose(1, 2).reshape(N, L, D))

    def in_frames(self, x: Tensor, shared: SharedTokens | None = None) -> Tensor:
        """Attend among the tokens of each frame.

        Args:
            x: [B, T, S, D], contiguous; with `shared` the places of this worker.
            shared: how the tokens are dealt out to several workers; None = this one has all.

        Returns:
            As x.
        """
        if shared is not None:
            x = shared.to_frames(x.to(self._computed(x)))  # narrow before it travels
        B, T, S, D = x.shape
        x = self(x.view(B * T, S, D)).view(B, T, S, D)
        return x if shared is None else shared.to_places(x)

    def along_time(self, x: Tensor, rotation: Tensor | None = None) -> Tensor:
        """Attend among the tokens of each place.

        Args:
            x: [B, T, S, D].
            rotation: [T, d // 2, 2] cosines and sines; None = no rotary positions.

        Returns:
            [B, T, S, D].
        """
        B, T, S, D = x.shape
        if self._is_short(x, T):
            return self._attend_short(x, rotation)  # which strides over the places
        h = x.transpose(1, 2).flatten(0, 1).contiguous()  # [B * S, T, D], one place through time
        return self(h, rotation).view(B, S, T, D).transpose(1, 2)

    def _is_short(self, x: Tensor, tokens: int) -> bool:
        if self.short is None:
            return False
        head_size = x.shape[-1] // self.num_heads
        return self.short.serves(x.device, self._computed(x), tokens, head_size)

    @staticmethod
    def _computed(x: Tensor) -> torch.dtype:
        """The type that qkv makes of x."""
        if torch.is_autocast_enabled(x.device.type):
            return torch.get_autocast_dtype(x.device.type)
        return x.dtype

    def _attend_short(self, x: Tensor, rotation: Tensor | None) -> Tensor:
        """Attend along the second axis of x [B, L, S, D]."""
        assert self.short is not None
        q_weight, k_weight = None, None
        if self.qk_norm:
            q_weight, k_weight = self.q_norm.weight, self.k_norm.weight
        qkv, rotate_first = self.qkv(x), self.qk_norm_legacy
        return self.proj(
            self.short.attend(qkv, self.num_heads, q_weight, k_weight, rotation, rotate_first)
        )

    def _rotate_and_norm(
        self, q: Tensor, k: Tensor, rotation: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Position and normalise q and k, [N, L, H, d] float32, in the order of the weights."""
        if rotation is not None:
            rotation = rotation[:, None]  # [L, 1, d // 2, 2]
        if rotation is not None and self.qk_norm_legacy:
            q, k = rotate(q, rotation), rotate(k, rotation)
        if self.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if rotation is not None and not self.qk_norm_legacy:
            q, k = rotate(q, rotation), rotate(k, rotation)
        return q, k


class CrossAttention(nn.Module):
    """Attention of video tokens to text tokens.

    Args:
        dim: channels D of both.
        num_heads: heads H.
        attend: computes the attention.
    """

    def __init__(self, dim: int, num_heads: int, *, attend: Attend = attend) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attend = attend
        self.q_linear = nn.Linear(dim, dim)
        self.kv_linear = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def keys_values(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [N, H, S, d] of a text [N, S, D]; they are the same at all timesteps."""
        kv = self.kv_linear(text).view(*text.shape[:2], 2, self.num_heads, -1)
        k, v = kv.unbind(2)
        return k.transpose(1, 2), v.transpose(1, 2)

    def forward(self, x: Tensor, text: BlockText, mask: Tensor | None = None) -> Tensor:
        """Attend to the text of the same sample.

        Args:
            x: [N, L, D].
            text: [N, S, D], or what `keys_values` makes of it.
            mask: bool [N, 1, 1, S], True = attend; None = all tokens.

        Returns:
            [N, L, D].
        """
        N, L, D = x.shape
        q = self.q_linear(x).view(N, L, self.num_heads, -1).transpose(1, 2)
        k, v = self.keys_values(text) if isinstance(text, Tensor) else text
        out = self.attend(q, k, v, mask)
        return self.proj(out.transpose(1, 2).reshape(N, L, D))
