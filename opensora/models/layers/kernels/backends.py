"""Attention by a named backend of torch or of the flash-attn package, without dense masks.

Axes: N sequences, H heads, L queries, S keys, d channels of a head.
"""

import importlib.util
import math
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from opensora.models.layers.attention import Attend, attend
from opensora.models.layers.kernels.flash import flash_attend

FLASH_ATTN = "flash_attn"  # the package; "flash" is torch's own copy
_SDPA = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
BACKENDS = (*_SDPA, FLASH_ATTN)
_WIDER = 8  # channels that carry a mask: kernels want multiples of 8
# far below any product of q and k and a float16; a larger one would round to other values in
# exp(score - highest score) where all keys are masked
_OUT = 30_000.0


def installed(backend: str) -> bool:
    """Whether a backend is there; torch has all of its own."""
    return backend in _SDPA or importlib.util.find_spec(FLASH_ATTN) is not None


class Scaled(Protocol):
    """An `Attend` that can be told by what to multiply the scores."""

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None = None,
        *,
        scale: float | None = None,
    ) -> Tensor:
        """Attend; a scale of None is 1 / sqrt(d)."""


@lru_cache
def backend_attend(backend: str, *, alone: bool = False) -> Attend:
    """`attend` through a backend; masks of keys become channels, so that fast kernels serve.

    Args:
        backend: one of `BACKENDS`.
        alone: fail where it can not serve, instead of taking the next one that can.
    """
    plain: Scaled = flash_attend if backend == FLASH_ATTN else _sdpa(backend, alone=alone)

    def attend_by_backend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        if not q.is_cuda:
            return attend(q, k, v, mask)
        if mask is None or not _masks_keys(mask, k):
            return plain(q, k, v, mask)
        return attend_keys(plain, q, k, v, mask)

    return attend_by_backend


def _sdpa(backend: str, *, alone: bool) -> Scaled:
    order = [_SDPA[backend]]
    if not alone:
        order += [other for other in _SDPA.values() if other not in order]

    def plain(
        q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, scale: float | None = None
    ) -> Tensor:
        with sdpa_kernel(order, set_priority=True):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)

    return plain


def attend_keys(plain: Scaled, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention to some keys only, by a kernel that knows no masks.

    One channel more takes the scores of other keys to where exp is 0, and their values are 0, so
    that a sequence without any key gets 0. Nothing of size L x S is made and nobody waits for the
    device.

    Args:
        plain: attends without a mask.
        q: [N, H, L, d].
        k: [N, H, S, d].
        v: [N, H, S, d].
        mask: bool [N, 1, 1, S] or [1, 1, 1, S]; True = attend.

    Returns:
        [N, H, L, d].
    """
    d = q.shape[-1]
    out = ~mask[:, :, 0, :, None]  # [N, 1, S, 1]
    one = torch.ones((), dtype=q.dtype, device=q.device).expand(*q.shape[:-1], 1)
    low = torch.where(out, -_OUT, 0.0).to(k.dtype).expand(*k.shape[:-1], 1)
    q = F.pad(torch.cat((q, one), -1), (0, _WIDER - 1))
    k = F.pad(torch.cat((k.masked_fill(out, 0), low), -1), (0, _WIDER - 1))
    v = F.pad(v.masked_fill(out, 0), (0, _WIDER))
    return plain(q, k, v, scale=1 / math.sqrt(d))[..., :d]


def _masks_keys(mask: Tensor, k: Tensor) -> bool:
    """Whether a mask is one of keys, the same for all heads and queries."""
    return mask.ndim == 4 and mask.shape[1:3] == (1, 1) and mask.shape[3] == k.shape[2]
