"""Attention through the optional flash-attn package."""

import torch
import torch.nn.functional as F
from torch import Tensor

from opensora.models.layers.attention import attend

_HALF_TYPES = (torch.float16, torch.bfloat16)


def flash_attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, scale: float | None = None
) -> Tensor:
    """`attend` through flash-attn where it can serve: CUDA, half precision, no mask."""
    if not q.is_cuda:
        return attend(q, k, v, mask)
    if mask is not None or v.dtype not in _HALF_TYPES:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    from flash_attn import flash_attn_func  # only there where it was asked for

    q, k, v = (tensor.to(v.dtype).transpose(1, 2) for tensor in (q, k, v))
    return flash_attn_func(q, k, v, softmax_scale=scale).transpose(1, 2)
