"""Optimizers and the course of the learning rate."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from opensora.acceleration.deal import Deal
from opensora.acceleration.muon import Muon
from opensora.acceleration.optimizer_fields import OPTIMIZERS, check_optimizer
from opensora.core.errors import ConfigError


class MuonWithAdamW(Optimizer):
    """Muon for the matrices of the blocks and AdamW for everything else, as one optimizer.

    The two keep one common list of groups and one common state, so learning-rate schedules and
    `state_dict` see a single optimizer.

    Attributes:
        found_inf: float [] on the device, as a GradScaler sets it: 1 leaves the next step out.

    Args:
        matrices: 2-D parameters for Muon.
        others: parameters for AdamW.
        fields: keywords, see MUON_FIELDS.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/.
    """

    _step_supports_amp_scaling = True  # torch's word for an optimizer that heeds `found_inf`
    found_inf: Tensor | None = None

    def __init__(
        self, matrices: list[nn.Parameter], others: list[nn.Parameter], fields: dict[str, Any]
    ) -> None:
        self._muon = Muon(
            matrices,
            lr=fields["lr"],
            momentum=fields["momentum"],
            weight_decay=fields["weight_decay"],
        )
        self._adamw = AdamW(
            others,
            lr=fields["adamw_lr"],
            weight_decay=fields["adamw_weight_decay"],
            betas=tuple(fields["betas"]),
            eps=fields["eps"],
            fused=True,
        )
        super().__init__([*self._muon.param_groups, *self._adamw.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Let both optimizers work on the groups and the state of this one."""
        self._muon.param_groups = self.param_groups[:1]
        self._adamw.param_groups = self.param_groups[1:]
        self._muon.state = self._adamw.state = self.state

    def deal_out(self, deal: Deal) -> None:
        """Hold pieces of the matrices from now on, each of which is whole on one worker."""
        self._muon.deal = deal

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        if closure is not None:
            raise ValueError("MuonWithAdamW takes no closure")
        for part in (self._muon, self._adamw):
            part.found_inf = self.found_inf  # type: ignore[union-attr]
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self._share()


def build_optimizer(model: nn.Module, config: dict[str, Any], *, lr: float | None) -> Optimizer:
    """Build the optimizer that a config describes.

    Args:
        model: its trainable parameters are optimized.
        config: `type` "adamw" or "muon" and keywords of ADAMW_FIELDS or MUON_FIELDS.
        lr: learning rate when the config names none.

    Raises:
        ConfigError: unknown type or keyword, or the model has no matrices for Muon.
    """
    optimizer = _build(model, config, lr)
    for group in optimizer.param_groups:  # what a schedule multiplies, whatever is loaded later
        group["initial_lr"] = group["lr"]
    return optimizer


def _build(model: nn.Module, config: dict[str, Any], lr: float | None) -> Optimizer:
    fields = dict(config)
    kind = check_optimizer(fields)
    fields.pop("type", None)
    if lr is not None:
        fields["lr"] = lr
    fields = {**OPTIMIZERS[kind], **fields}
    trainable = [p for p in model.parameters() if p.requires_grad]
    if kind == "adamw":
        fields["betas"] = tuple(fields["betas"])
        return AdamW(trainable, **fields, fused=True)
    matrices = block_matrices(model)
    if not matrices:
        raise ConfigError("optimizer.type 'muon': the model has no linear layer in `blocks`")
    taken = {id(p) for p in matrices}
    return MuonWithAdamW(matrices, [p for p in trainable if id(p) not in taken], fields)


def block_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Weights of the linear layers inside the model's `blocks`, in the order of the modules.

    Embeddings, the final layer and the modulation tables are no hidden matrices and stay out.
    """
    return [
        parameter
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and any(p.endswith("blocks") for p in name.split("."))
        for key, parameter in module.named_parameters(recurse=False)
        if key == "weight" and parameter.requires_grad
    ]


@dataclass(frozen=True)
class LrSchedule:
    """Factor of the learning rate, a pure function of the step.

    Attributes:
        warmup_steps: steps of the linear rise.
        decay: None, "linear" or "cosine" fall to 0 at `total_steps`.
        total_steps: optimizer steps of the run.
    """

    warmup_steps: int
    decay: str | None
    total_steps: int

    def factor(self, step: int) -> float:
        """Factor in (0, 1] for optimizer step `step`, counted from 0."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.decay is None:
            return 1.0
        length = max(1, self.total_steps - self.warmup_steps)
        left = 1 - (step - self.warmup_steps) / length  # 1 at the end of the warm-up, 0 at the end
        return left if self.decay == "linear" else (1 - math.cos(math.pi * left)) / 2

    def apply(self, optimizer: Optimizer, step: int) -> float:
        """Set the learning rate of every group; returns that of the first one."""
        factor = self.factor(step)
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
        return float(optimizer.param_groups[0]["lr"])
