"""The rows of `bench train`: what is trained, how, and in which style the model computes.

Axes: B samples, T frames, S tokens of a frame, D channels.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from opensora.core.errors import ConfigError
from opensora.models.layers.attention import Attention, CrossAttention, attend
from opensora.models.layers.kernels.choice import Kernels
from opensora.models.layers.norms import NORM_EPS

MODEL = "STDiT-XL/2"


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        name: as `--cases` has it.
        about: what it stands for.
        frames: of the video.
        side: height and width in pixels.
        batch_size: clips.
        reference: trained as the reference does, in a loop of its own; else by our trainer.
        dtype: of matrix products.
        plugin: of our trainer.
        chosen: kernels are chosen by the probe, and blocks compiled on a GPU.
        checkpoint: blocks are recomputed in the backward pass.
        fields: of the model, besides those of XL/2.
    """

    name: str
    about: str
    frames: int = 16
    side: int = 256
    batch_size: int = 8
    reference: bool = False
    dtype: str = "bf16"
    plugin: str = "ddp"
    chosen: bool = False
    checkpoint: bool = False
    fields: tuple[tuple[str, Any], ...] = ()

    @property
    def model(self) -> dict[str, Any]:
        """Fields of the model that differ from those of its type."""
        return dict(self.fields)

    @property
    def kernels(self) -> dict[str, str]:
        """`kernels` of a training config; fb84f53 knew those of torch alone."""
        names = ("attention", "short_attention", "layer_norm")
        return dict.fromkeys(names, "auto" if self.chosen else "torch")


_LARGE: dict[str, Any] = {"frames": 64, "side": 512, "batch_size": 1, "checkpoint": True}
# ZeRO leaves hooks on the weights, which all cases share: it comes last
GPU_CASES = (
    Case("reference", "reference-style: bf16 weights, eager, fused AdamW", reference=True),
    Case("reference-512", "the same, 64x512x512, checkpointing", reference=True, **_LARGE),
    Case("fb84f53", "defaults of fb84f53: eager, torch's kernels"),
    Case("all", "kernels of the probe, compiled blocks", chosen=True),
    Case("all-512", "the same, 64x512x512, checkpointing", chosen=True, **_LARGE),
    Case("zero2", "as all, plugin zero2", plugin="zero2", chosen=True),
)
_SMALL: dict[str, Any] = {"frames": 2, "batch_size": 1, "fields": (("depth", 4),)}
CPU_CASES = (
    Case("reference", "reference-style, bf16 weights", reference=True, **_SMALL),
    Case("reference-fp32", "reference-style, fp32", reference=True, dtype="fp32", **_SMALL),
    Case("fp32", "our trainer, fp32", dtype="fp32", **_SMALL),
    Case("default", "our trainer as it comes", **_SMALL),
)


def choose_cases(names: str | None, cases: tuple[Case, ...]) -> list[Case]:
    """The cases that a list with commas names, in the order in which they can share a model.

    Raises:
        ConfigError: an unknown name.
    """
    if names is None:
        return list(cases)
    wanted = names.split(",")
    known = [case.name for case in cases]
    for name in wanted:
        if name not in known:
            raise ConfigError(f"--cases {name}: expected some of {', '.join(known)}")
    return [case for case in cases if case.name in wanted]


def reference_style(model: nn.Module) -> nn.Module:
    """A copy of a model that computes as the reference's code does, operation by operation.

    Norm, scale and shift are kernels of their own, so are gate and sum; attention is torch's, with
    a dense mask of the text, for temporal attention as for all other.
    """
    model = copy.deepcopy(model)
    use_kernels(model, Kernels(attend, _modulate, _add_gated))
    return model


def use_kernels(model: nn.Module, kernels: Kernels) -> None:
    """Give a model these functions, whatever it had."""
    for module in model.modules():
        if isinstance(module, Attention | CrossAttention):
            module.attend = kernels.attend
        if isinstance(module, Attention):
            module.short = kernels.short
        for name in ("modulate", "add_gated"):
            if hasattr(module, name):
                setattr(module, name, getattr(kernels, name))


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Source: Open-Sora 1.1 (`models/layers/blocks.py`, t2i_modulate)."""
    return F.layer_norm(x, x.shape[-1:], eps=NORM_EPS) * (1 + scale) + shift


def _add_gated(x: Tensor, gate: Tensor, branch: Tensor) -> Tensor:
    return x + gate * branch
