"""Loss scaling for fp16: gradients too small for the type are raised above its smallest number.

torch's GradScaler does it, under FSDP too, whose workers agree on what overflowed. The ZeRO plugins
keep gradients in a place of their own; their fp16 mode would turn the model and its inputs into
half precision (timestep 999 into 1000), so here the same scaler is put where that mode's would be.
"""

from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch.amp import GradScaler

from opensora.acceleration.colossal import OptimizerWrapper


class ZeroScale:
    """What ColossalAI's ZeRO optimizer asks of its mixed precision; all else is torch's scaler.

    Args:
        scaler: has scaled the loss; is updated by the caller after each step.
        optimizer: whose gradients are scaled.

    Attributes:
        overflowed: whether a gradient of the newest step, on any worker, is not finite; the step
            was left out then.
    """

    dtype = torch.float16

    def __init__(self, scaler: GradScaler, optimizer: OptimizerWrapper) -> None:
        self._scaler = scaler
        self._optimizer: Any = optimizer
        self.overflowed = False

    def pre_backward(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss, which is scaled already."""
        return loss

    def pre_zero_grad(self) -> None:
        """Nothing."""

    def get_grad_div_scale(self) -> float:
        """What is left to divide gradients by."""
        return 1.0

    def should_skip_step(self) -> bool:
        """Unscale this worker's share of the gradients; True where one of any is not finite."""
        parts = []
        for group in range(self._optimizer.num_param_groups):
            for gradient in self._optimizer.get_working_grads_by_group_id(group):
                part = gradient.detach()  # shares its memory
                part.grad = gradient
                parts.append(part)
        mine: Any = SimpleNamespace(param_groups=[{"params": parts}])
        self._scaler.unscale_(mine)
        found = self._scaler._found_inf_per_device(mine)
        for value in found.values():  # the scaler reads the same, and so is updated alike
            dist.all_reduce(value, dist.ReduceOp.MAX)
        self.overflowed = any(bool(value) for value in found.values())
        return self.overflowed
