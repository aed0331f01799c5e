"""The functions that blocks are made of, and which implementation of them a model gets."""

import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypedDict

import torch
from torch import Tensor

from opensora.models.layers.attention import Attend, Short, attend
from opensora.models.layers.norms import add_gated, modulate

log = logging.getLogger(__name__)

Adapt = Callable[[Tensor, Tensor, Tensor], Tensor]


class SelfAttention(TypedDict):
    """What an `Attention` takes of the kernels."""

    attend: Attend
    short: Short | None


@dataclass(frozen=True)
class Kernels:
    """Implementations that give the same numbers up to rounding.

    Attributes:
        attend: (q, k, v, mask) -> softmax(q k^T / sqrt(d)) v.
        modulate: (x, shift, scale) -> layer_norm(x) * (1 + scale) + shift.
        add_gated: (x, gate, branch) -> x + gate * branch.
        short: self attention of short sequences in one kernel; None = as all others.
    """

    attend: Attend = attend
    modulate: Adapt = modulate
    add_gated: Adapt = add_gated
    short: Short | None = None

    @property
    def self_attention(self) -> SelfAttention:
        """Keywords of an `Attention`."""
        return {"attend": self.attend, "short": self.short}


TORCH = Kernels()


def choose_kernels(enable_flash_attn: bool, enable_layernorm_kernel: bool) -> Kernels:
    """The functions for a model; one warning where an optional package is asked for but missing.

    Both settings only matter on CUDA: elsewhere the chosen functions are those of torch.

    Args:
        enable_flash_attn: attend through the flash-attn package.
        enable_layernorm_kernel: modulate and gate in fused Triton kernels.
    """
    kernels = TORCH
    if torch.cuda.is_available() and importlib.util.find_spec("triton") is not None:
        from opensora.models.layers.kernels.short_kernel import ShortKernel

        kernels = replace(kernels, short=ShortKernel())
    if enable_flash_attn and _installed("flash_attn", "attention runs in torch"):
        from opensora.models.layers.kernels.flash import flash_attend

        kernels = replace(kernels, attend=flash_attend)
    if enable_layernorm_kernel and _installed("triton", "layer norms run in torch"):
        from opensora.models.layers.kernels.adaptive import fused_add_gated, fused_modulate

        kernels = replace(kernels, modulate=fused_modulate, add_gated=fused_add_gated)
    return kernels


@lru_cache
def _installed(package: str, otherwise: str) -> bool:
    """Whether a package is there; says so once where it is not."""
    found = importlib.util.find_spec(package) is not None
    if not found:
        log.warning("kernel package=%s is not installed: %s", package, otherwise)
    return found
