"""What a worker has of all that is trained, whatever plugin split it, to save and to load it.

Averages and moments are split like their weights, so that what one plugin saved on any number of
workers another one can load. Muon's moments are whole on one worker each.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from opensora.acceleration.deal import Deal
from opensora.acceleration.optimizer import MuonWithAdamW
from opensora.acceleration.shares import (
    Share,
    flat_share,
    parts_to_write,
    share_of_rows,
    whole_share,
)
from opensora.acceleration.workers import Workers
from opensora.models.weights.parts import Part, Stored

_COMMON = "step"  # of an optimizer's state: a number, equal on all workers
_DEALT = "momentum_buffer"  # of Muon's


class Trained:
    """The weights that a worker trains, and the state of their optimizer.

    Attributes:
        shares: of each trained weight, by its name.

    Args:
        module: holds the weights.
        optimizer: over this worker's shares of them.
        order: names of the weights in the order of the optimizer's parameters.
        workers: of the run.
        masters: id of a weight -> the piece of it that ZeRO trains here.
        is_split: whether the workers hold pieces.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: Optimizer,
        order: Sequence[str],
        workers: Workers,
        masters: Mapping[int, Tensor],
        is_split: bool = False,
    ) -> None:
        self._module, self._optimizer, self._order = module, optimizer, order
        self._is_main = workers.is_main
        self.shares: dict[str, Share] = {}
        for name, weight in module.named_parameters():
            if not weight.requires_grad:
                continue
            if isinstance(weight, DTensor):
                share = share_of_rows(weight)
            elif masters:
                share = flat_share(masters[id(weight)], weight, workers.rank)
            else:
                share = whole_share(weight, is_written=workers.is_main)
            self.shares[name] = share
        self._deal: Deal | None = None
        if isinstance(optimizer, MuonWithAdamW) and is_split:
            number = len(optimizer.param_groups[0]["params"])
            self._deal = Deal([self.shares[name] for name in order[:number]], workers)
            optimizer.deal_out(self._deal)

    @property
    def live(self) -> dict[str, Tensor]:
        """The shares themselves, which training changes."""
        return {name: share.live for name, share in self.shares.items()}

    def weight_parts(self) -> dict[str, Part]:
        """What this worker writes of the weights, by the names of the model's `state_dict`."""
        return parts_to_write(self._module.state_dict(), is_main=self._is_main)

    def parts(self, values: Mapping[str, Tensor]) -> dict[str, Part]:
        """What this worker writes of tensors like its shares, by their names."""
        shares = self.shares
        return {n: shares[n].part(v) for n, v in values.items() if shares[n].is_written}

    def fill(self, values: Mapping[str, Tensor], stored: Stored) -> None:
        """Copy what is stored into tensors like the shares, by their names.

        Raises:
            KeyError, ValueError: names, shapes or types are others.
        """
        for name, value in values.items():
            self.shares[name].fill(value, stored, name)

    def optimizer_parts(self) -> dict[str, Part]:
        """What this worker writes of the optimizer's tensors: `exp_avg.NAME` and the like."""
        parts: dict[str, Part] = {}
        common: dict[str, Tensor] = {}
        for name, parameter in zip(self._order, self._parameters(), strict=True):
            share = self.shares[name]
            for key, value in self._optimizer.state.get(parameter, {}).items():
                if key == _COMMON:
                    common[f"{key}.{name}"] = value
                elif key == _DEALT and self._deal is not None:
                    parts[f"{key}.{name}"] = Part(value, share.shape)
                elif share.is_written:
                    parts[f"{key}.{name}"] = share.part(value)
        return {**parts, **parts_to_write(common, is_main=self._is_main)}

    def load_optimizer(self, groups: Sequence[Mapping[str, Any]], tensors: Stored | None) -> None:
        """Restore the optimizer's state, each worker its own; its settings stay those given here.

        Args:
            groups: its groups, as they were saved.
            tensors: its tensors. Numbers instead of names count the parameters.

        Raises:
            KeyError, ValueError: they are of another optimizer.
        """
        optimizer = self._optimizer
        given = [
            {name: value for name, value in group.items() if name != "params"}
            for group in optimizer.param_groups
        ]
        places = {name: index for index, name in enumerate(self._order)}
        places |= {str(index): index for index in range(len(self._order))}
        moments: dict[int, dict[str, Tensor]] = {}
        tensors = Stored([]) if tensors is None else tensors
        for full in sorted(tensors):
            key, _, name = full.partition(".")
            entries = moments.setdefault(places[name], {})
            share = self.shares[self._order[places[name]]]
            if key == _COMMON:
                entries[key] = tensors[full].clone()
            elif key != _DEALT or self._deal is None:
                entries[key] = torch.zeros_like(share.live.detach())
                share.fill(entries[key], tensors, full)
            elif self._deal.owns(share.live):
                entries[key] = tensors[full].to(share.live.device, copy=True)
        optimizer.load_state_dict({"state": moments, "param_groups": list(groups)})
        for group, settings in zip(optimizer.param_groups, given, strict=True):
            group.pop("initial_lr", None)  # of a schedule, which sets it anew
            group.update(settings)

    def _parameters(self) -> list[Tensor]:
        return [p for group in self._optimizer.param_groups for p in group["params"]]
