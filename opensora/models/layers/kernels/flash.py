"""Attention through the optional flash-attn package."""

import torch
from torch import Tensor

from opensora.models.layers.attention import attend

_HALF_TYPES = (torch.float16, torch.bfloat16)


def flash_attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """`attend` through flash-attn where it can serve: CUDA, half precision, no mask."""
    if mask is not None or not q.is_cuda or v.dtype not in _HALF_TYPES:
        return attend(q, k, v, mask)
    from flash_attn import flash_attn_func  # only there where it was asked for

    q, k, v = (tensor.to(v.dtype).transpose(1, 2) for tensor in (q, k, v))
    return flash_attn_func(q, k, v).transpose(1, 2)
