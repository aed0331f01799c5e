"""Linear layers of blocks on an x86 processor: oneDNN's products, of weights packed once.

There torch multiplies in float32 by MKL, which on AMD is up to half as fast as oneDNN; in bfloat16
it packs the weights anew for each product. A GELU between two layers is computed with the first.
"""

import logging
import platform

import torch
from torch import Tensor, nn

from opensora.models.layers.blocks import Mlp

log = logging.getLogger(__name__)

_MACHINES = ("x86_64", "AMD64")
_DTYPES = (torch.float32, torch.bfloat16)


class PackedLinear(nn.Module):
    """A linear layer that only computes: it can neither be trained nor saved.

    Args:
        linear: whose weights are packed; on a CPU, float32 or bfloat16.
        gelu: apply a tanh-approximated GELU to the result.
    """

    def __init__(self, linear: nn.Linear, *, gelu: bool = False) -> None:
        super().__init__()
        self.bias = None if linear.bias is None else linear.bias.detach()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self._after: tuple[str, list[float], str] = (
            ("gelu", [], "tanh") if gelu else ("none", [], "")
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map x [..., in] to [..., out]."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, *self._after)
        return out


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN has packed products of a type on a device."""
    if device.type != "cpu" or platform.machine() not in _MACHINES or dtype not in _DTYPES:
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pack_blocks(model: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Replace the linear layers of a model's blocks, where `packs` says that it can be done.

    Layers around the blocks stay: networks look at their weights.

    Args:
        model: in evaluation mode, on its device; it can not be saved afterwards.
        device: where it runs.
        dtype: of most of its weights.
    """
    if not packs(device, dtype):
        return
    for block in getattr(model, "all_blocks", []):
        _pack(block)
    log.info("sample products=oneDNN")


def _pack(module: nn.Module) -> None:
    for name, child in module.named_children():
        packed = _packed(child)
        if packed is None:
            _pack(child)
        else:
            setattr(module, name, packed)


def _packed(module: nn.Module) -> nn.Module | None:
    """What computes the same as a module, None where it is to be looked into."""
    if type(module) is nn.Linear:
        return PackedLinear(module) if module.weight.dtype in _DTYPES else None
    if isinstance(module, Mlp):
        return nn.Sequential(PackedLinear(module.fc1, gelu=True), PackedLinear(module.fc2))
    if type(module).__name__ == "GELU" and getattr(module, "approximate", None) == "tanh":
        linear = getattr(module, "proj", None)  # diffusers' layer of both
        return PackedLinear(linear, gelu=True) if type(linear) is nn.Linear else None
    return None
