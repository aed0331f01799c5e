"""Plugins by name, and the engine that trains a model through one of them.

Weights and optimizer state are fp32 under every plugin; a lower precision is an autocast around
the forward pass. So a checkpoint means the same whatever plugin wrote it, and none rounds inputs
such as timesteps, which the ZeRO plugin's own bf16 mode would.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from opensora.acceleration.averaging import set_averaging
from opensora.acceleration.colossal import (
    Booster,
    LowLevelZeroPlugin,
    OptimizerWrapper,
    TorchDDPPlugin,
    set_accelerator,
)
from opensora.acceleration.precision import autocast, effective_dtype
from opensora.acceleration.scaling import ZeroScale
from opensora.acceleration.sharded import split_model, whole_norm
from opensora.acceleration.trained import Trained
from opensora.acceleration.workers import Workers
from opensora.core.errors import ConfigError
from opensora.models.device import parse_dtype
from opensora.models.weights.parts import Stored

PLUGINS = ("ddp", "zero1", "zero2", "fsdp")
_SCALER = "loss_scale"  # key beside the optimizer's own
_OVERFLOWS = "overflows"  # key within it


def check_plugin(name: str, device: torch.device) -> None:
    """Check that a plugin exists and can run on a device.

    Raises:
        ConfigError: unknown name, or a GPU-only plugin on the CPU.
    """
    if name not in PLUGINS:
        raise ConfigError(
            f"plugin is {name!r}; expected one of {', '.join(PLUGINS)} (others split the weights in"
            " ways that leave no place for an EMA and an exact resume)"
        )
    if name.startswith("zero") and device.type != "cuda":
        raise ConfigError(
            f"plugin {name!r} needs a GPU and this run is on the CPU; use plugin='ddp' or 'fsdp',"
            " or pass --gpus"
        )


def create_plugin(name: str, *, grad_clip: float | None, device: torch.device) -> Any:
    """Create the ColossalAI plugin called `name`.

    Args:
        name: "ddp" (weights and optimizer state on every worker), "zero1" (optimizer state
            split over the workers) or "zero2" (gradients split as well).
        grad_clip: largest gradient norm; the ZeRO plugins clip by themselves.
        device: where the workers compute.

    Raises:
        ConfigError: unknown name, or a GPU-only plugin on the CPU.
    """
    check_plugin(name, device)
    set_accelerator(device.type)
    if name == "ddp":
        # buffers are constants, equal on every worker: no broadcast before each forward pass
        return TorchDDPPlugin(broadcast_buffers=False, gradient_as_bucket_view=True)
    stage = 1 if name == "zero1" else 2
    return LowLevelZeroPlugin(stage=stage, precision="fp32", max_norm=grad_clip or 0.0)


class Engine:
    """One model and its optimizer, trained by all workers together.

    Attributes:
        overflowed: whether the newest step was left out because a gradient did not fit into fp16.
        overflows: how many were, before a resume included.

    Args:
        model: on any device; `self.model` is the wrapped one, to be called in training.
        optimizer: over the parameters of `model`.
        plugin: "ddp", "zero1", "zero2" or "fsdp".
        dtype: "fp32", "bf16", or on a GPU "fp16", which scales the loss.
        grad_clip: largest gradient norm; None or 0 never clips.
        workers: the processes of this run.
        reduce_dtype: "fp32", or "bf16" for gradients that workers send each other in half the
            bytes; not under the ZeRO plugins.

    Raises:
        ConfigError: plugin or dtype unknown, or not for this device.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        plugin: str,
        dtype: str,
        grad_clip: float | None,
        workers: Workers,
        reduce_dtype: str = "fp32",
    ) -> None:
        self.dtype = effective_dtype(dtype, workers.device)
        self.workers = workers
        self.grad_clip = grad_clip
        self.clips_itself = plugin.startswith("zero")
        self.splits_moments = plugin != "ddp"
        self.is_split = plugin == "fsdp"
        self.overflowed = False
        self.overflows = 0
        self._scaler = None
        self._skips_on_device = not self.clips_itself and hasattr(
            optimizer, "_step_supports_amp_scaling"
        )
        self._zero_scale: ZeroScale | None = None
        if self.dtype == torch.float16:
            self._scaler = GradScaler(workers.device.type)
        self.module = model
        self.model: nn.Module
        self.optimizer: OptimizerWrapper
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        order = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
        if self.is_split:
            split_model(model, optimizer, workers, parse_dtype(reduce_dtype))
            self.model, self.optimizer = model, OptimizerWrapper(optimizer)
            self.parameters = [p for p in model.parameters() if p.requires_grad]
            self.trained = self._trained(order)
            return
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.booster = Booster(
            plugin=create_plugin(plugin, grad_clip=grad_clip, device=workers.device)
        )
        self.model, self.optimizer, *_ = self.booster.boost(model, optimizer)
        if self.clips_itself and self._scaler is not None:
            self._zero_scale = ZeroScale(self._scaler, self.optimizer)
            self.optimizer.mixed_precision_mixin = self._zero_scale
        self.trained = self._trained(order)
        if not self.clips_itself:
            set_averaging(self.model.module, workers, parse_dtype(reduce_dtype))

    def _trained(self, order: list[str]) -> Trained:
        """What this worker has of what is trained."""
        masters: dict[int, Tensor] = {}
        if self.clips_itself:
            masters = self.optimizer.get_working_to_master_map()
        return Trained(
            *(self.module, self.optimizer.optim, order, self.workers, masters),
            is_split=self.splits_moments,
        )

    def autocast(self) -> AbstractContextManager[object]:
        """Context of the forward pass."""
        return autocast(self.dtype, self.workers.device)

    def no_sync(self) -> AbstractContextManager[object]:
        """Context of a forward and backward pass whose gradients stay on this worker for now.

        They are averaged with those of the next backward pass outside of it. Plugins "zero2" and
        "fsdp" keep only their share of the gradients, so they average each time.
        """
        if self.is_split or not self.booster.plugin.support_no_sync():
            return nullcontext()
        context: AbstractContextManager[object] = self.booster.no_sync(self.model, self.optimizer)
        return context

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradients of a scalar loss, averaged over the workers."""
        if self._scaler is not None:
            loss = self._scaler.scale(loss)
        if self.is_split:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self.booster.backward(loss, self.optimizer)

    def update(self, is_sound: Tensor | None = None) -> Tensor:
        """Clip, take one optimizer step, clear the gradients.

        Where the optimizer can, the device itself leaves out a step whose gradient norm is not
        finite, and nobody waits for it to know. (The ZeRO plugins, loss scaling and optimizers
        that can not do so ask the device.)

        In fp16 a gradient that does not fit is no fault: the step is left out, the scale halved,
        and `overflowed` says so until the next update.

        Args:
            is_sound: bool [], on the device, equal on all workers; where False the step is left
                out whatever the gradients are. None = it is sound.

        Returns:
            The gradient norm before clipping; where it is not finite the weights stay untouched
            (except under the ZeRO plugins, which say it only afterwards).
        """
        waits = self._scaler is not None or not self._skips_on_device
        if waits and is_sound is not None and not is_sound:
            self.optimizer.zero_grad()
            return torch.full((), math.nan)
        if self._scaler is not None and not self.clips_itself:
            self._scaler.unscale_(self.optimizer.optim)
        if self.clips_itself:
            self.optimizer.step()
            norm = self._zero_norm()
        else:
            norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
            if self.grad_clip:
                nn.utils.clip_grads_with_norm_(self.parameters, self.grad_clip, norm)
            norm = whole_norm(norm)
            if self._scaler is not None:
                self._scaler.step(self.optimizer.optim)  # does nothing after an overflow
                self._rescale(norm)
            elif self._skips_on_device:
                takes = norm.isfinite() if is_sound is None else norm.isfinite() & is_sound
                self.optimizer.optim.found_inf = (~takes).float()
                self.optimizer.step()
            elif norm.isfinite():
                self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def _zero_norm(self) -> Tensor:
        """The gradient norm of a step that a ZeRO plugin has taken, or left out."""
        if self._zero_scale is None or not self._zero_scale.overflowed:
            norm = torch.as_tensor(self.optimizer.get_grad_norm())
        else:
            norm = torch.full((), math.inf)
        if self._zero_scale is not None:
            self._rescale(norm)
        return norm

    def _rescale(self, norm: Tensor) -> None:
        """Choose the next loss scale; note an overflow."""
        assert self._scaler is not None
        # at the smallest scale it is the model that left the numbers, not the type
        self.overflowed = not norm.isfinite() and self._scaler.get_scale() > 1
        self.overflows += self.overflowed
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """What is no tensor of the optimizer's state, and the loss scale."""
        state = {"param_groups": self.optimizer.optim.state_dict()["param_groups"]}
        if self._scaler is not None:
            state[_SCALER] = {**self._scaler.state_dict(), _OVERFLOWS: self.overflows}
        return state

    def load_state_dict(self, state: Mapping[str, Any], tensors: Stored | None = None) -> None:
        """Restore an optimizer; learning rates and the like stay those given here.

        Args:
            state: what `state_dict` returned.
            tensors: what `trained.optimizer_parts` of all workers are together.

        Raises:
            KeyError, ValueError: they are of another optimizer.
        """
        self.trained.load_optimizer(state["param_groups"], tensors)
        if self._scaler is not None and (scale := state.get(_SCALER)) is not None:
            self.overflows = int(scale.get(_OVERFLOWS, 0))
            self._scaler.load_state_dict(scale)
