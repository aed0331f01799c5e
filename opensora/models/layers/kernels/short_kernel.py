"""Where attention of short sequences can be computed by its kernels.

Axes: B samples, L tokens of a sequence, S sequences of a sample side by side, H heads, d channels
of a head.
"""

import logging
import subprocess
from functools import lru_cache

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from opensora.models.layers.kernels.short import short_attention
from opensora.models.layers.norms import NORM_EPS
from opensora.models.layers.positions import rotate, rotation_table

log = logging.getLogger(__name__)

INTERPRETED = bool(triton.knobs.runtime.interpret)  # Triton's own CPU mode, for tests
MAX_TOKENS = 64
HEAD_SIZES = range(32, 129, 8)  # multiples of 8: 16 bytes at once
_HALF_TYPES = (torch.float16, torch.bfloat16)
_RTOL = 0.01  # of float16, against the largest value


class ShortKernel:
    """What `Attention` takes as `short`."""

    def serves(self, device: torch.device, dtype: torch.dtype, tokens: int, head_size: int) -> bool:
        """See `serves`."""
        return serves(device, dtype, tokens, head_size)

    def attend(
        self,
        qkv: Tensor,
        num_heads: int,
        q_weight: Tensor | None,
        k_weight: Tensor | None,
        rotation: Tensor | None,
        rotate_first: bool,
    ) -> Tensor:
        """See `short_attention`."""
        return short_attention(qkv, num_heads, q_weight, k_weight, rotation, rotate_first)


@torch.compiler.assume_constant_result
def serves(device: torch.device, dtype: torch.dtype, tokens: int, head_size: int) -> bool:
    """Whether the kernels can take sequences of so many tokens: half precision on CUDA."""
    if not (0 < tokens <= MAX_TOKENS and head_size in HEAD_SIZES):
        return False
    return INTERPRETED or (device.type == "cuda" and dtype in _HALF_TYPES and works(device))


@lru_cache
def works(device: torch.device) -> bool:
    """Try both kernels once on a device; a warning where they can not be built or differ."""
    try:
        # in whatever mode the first caller is
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            pairs = _results(device)
    except (triton.errors.TritonError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        reason = str(error).split("\n")[0][:200]
        log.warning("kernel short attention runs in torch: Triton: %s", reason)
        return False
    if all(_close(found, exact) for found, exact in pairs):
        return True
    log.warning("kernel short attention runs in torch: Triton's result differs on %s", device)
    return False


def _results(device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Output and gradient of the kernels, each beside that of torch."""
    d, generator = 72, torch.Generator().manual_seed(0)
    start = torch.randn(2, 5, 3, 6 * d, generator=generator).to(device, torch.float16)
    weight = torch.linspace(0.5, 1.5, d, device=device)
    rotation = rotation_table(5, d, device=device)
    found = []
    for function in (short_attention, _plain):
        qkv = start.clone().requires_grad_()
        out = function(qkv, 2, weight, weight, rotation)
        found.append((out, *torch.autograd.grad(out.float().square().sum(), qkv)))
    return list(zip(*found, strict=True))


def _plain(
    qkv: Tensor, num_heads: int, q_weight: Tensor, k_weight: Tensor, rotation: Tensor
) -> Tensor:
    """What the kernels compute, in torch and float32."""
    x = qkv.float().transpose(1, 2).unflatten(-1, (3, num_heads, -1))  # [B, S, L, 3, H, d]
    q, k, v = x.transpose(2, 4).unbind(3)  # [B, S, H, L, d] each
    q, k = (
        F.rms_norm(rotate(y.contiguous(), rotation), y.shape[-1:], weight, NORM_EPS)
        for y, weight in ((q, q_weight), (k, k_weight))
    )
    out = F.scaled_dot_product_attention(q, k, v)
    return out.transpose(2, 3).flatten(3).transpose(1, 2)


def _close(found: Tensor, exact: Tensor) -> bool:
    error = (found.float() - exact.float()).abs().max() / exact.abs().max()
    return bool(error < _RTOL)  # False for NaN
