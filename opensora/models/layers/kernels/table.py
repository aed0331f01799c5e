"""Which kernel serves which class of shapes: chosen once, kept with the run, put into a model.

A class is named by what it does, the nearest power of four of its size and, for norms, the type,
such as "self 256", "cross masked", "short 16" and "norm bfloat16 32768".
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from opensora.models.layers.attention import Attention, CrossAttention, Short, attend
from opensora.models.layers.kernels.backends import BACKENDS, backend_attend
from opensora.models.layers.kernels.choice import Adapt, Kernels
from opensora.models.layers.norms import add_gated, modulate

TORCH, FUSED = "torch", "fused"
SELF_TOKENS = (16, 64, 256, 1024, 4096)
SHORT_TOKENS = (16, 64)
NORM_ROWS = (1 << 13, 1 << 15, 1 << 17)
CROSS, CROSS_MASKED = "cross", "cross masked"


def nearest(size: int, sizes: tuple[int, ...]) -> int:
    """The one of `sizes` that is nearest by its ratio."""
    return min(sizes, key=lambda other: abs(math.log(size / other)))


def self_class(tokens: int) -> str:
    """Class of self attention among so many tokens."""
    return f"self {nearest(tokens, SELF_TOKENS)}"


def short_class(tokens: int) -> str:
    """Class of the kernel of short sequences."""
    return f"short {nearest(tokens, SHORT_TOKENS)}"


def norm_class(rows: int, dtype: torch.dtype) -> str:
    """Class of modulated norms and gates of so many tokens."""
    return f"norm {str(dtype).removeprefix('torch.')} {nearest(rows, NORM_ROWS)}"


class KernelTable:
    """Choices by class, and the functions that follow them.

    Args:
        choices: class -> backend of attention, or "fused" or "torch"; what is missing is torch's.
        modulate: the fused one, where the model was built with it.
        add_gated: likewise.
    """

    def __init__(
        self, choices: Mapping[str, str], modulate: Adapt = modulate, add_gated: Adapt = add_gated
    ) -> None:
        self.choices = dict(choices)
        self._attends = {
            name: backend_attend(choice) for name, choice in choices.items() if choice in BACKENDS
        }
        self._modulate, self._add_gated = modulate, add_gated

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """`attention.attend` by the backend of the class."""
        name = self_class(q.shape[2]) if mask is None else CROSS_MASKED
        if mask is None and q.shape[2] != k.shape[2]:
            name = CROSS
        return self._attends.get(name, attend)(q, k, v, mask)

    def modulate(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """`norms.modulate`, fused where that is faster."""
        return (self._modulate if self._fused(x) else modulate)(x, shift, scale)

    def add_gated(self, x: Tensor, gate: Tensor, branch: Tensor) -> Tensor:
        """`norms.add_gated`, fused where that is faster."""
        return (self._add_gated if self._fused(x) else add_gated)(x, gate, branch)

    def _fused(self, x: Tensor) -> bool:
        return self.choices.get(norm_class(x.numel() // x.shape[-1], x.dtype)) == FUSED


class ChosenShort:
    """A kernel of short sequences where a table says that it is faster.

    Args:
        kernel: what `Attention` had as `short`.
        table: the choices.
    """

    def __init__(self, kernel: Short, table: KernelTable) -> None:
        self._kernel, self._table = kernel, table
        self.attend = kernel.attend

    def serves(self, device: torch.device, dtype: torch.dtype, tokens: int, head_size: int) -> bool:
        """Whether it can and is faster."""
        chosen = self._table.choices.get(short_class(tokens)) == FUSED
        return chosen and self._kernel.serves(device, dtype, tokens, head_size)


def built_kernels(model: nn.Module) -> Kernels:
    """The functions that a model was built with."""
    found: dict[str, Any] = {}
    for module in model.modules():
        for name in ("attend", "modulate", "add_gated", "short"):
            kernel = getattr(module, name, None)
            if kernel is not None:
                found.setdefault(name, kernel)
    return Kernels(**found)


def install(model: nn.Module, choices: Mapping[str, str]) -> None:
    """Let every part of a model take its functions from a table; fused ones only if it had them.

    All parts share the table, so that a compiler sees equal blocks.
    """
    built = built_kernels(model)
    table = KernelTable(choices, built.modulate, built.add_gated)
    short = None if built.short is None else ChosenShort(built.short, table)
    for module in model.modules():
        if isinstance(module, Attention | CrossAttention):
            module.attend = table.attend
        if isinstance(module, Attention):
            module.short = short
        for name in ("modulate", "add_gated"):
            if hasattr(module, name):
                setattr(module, name, getattr(table, name))
