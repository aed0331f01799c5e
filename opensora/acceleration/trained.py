"""What a worker has of all that is trained, whatever plugin split it, to save and to load it.

A weight is whole on every worker (DDP), dealt out by rows (FSDP2), or flattened, padded and cut
into pieces (ZeRO). Its average and its moments are split like it. All of these are runs of
neighbouring values, so that what one plugin saved on any number of workers another one can load.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from opensora.acceleration.workers import Workers
from opensora.models.weights.parts import Part, Stored

_COMMON = "step"  # of an optimizer's state: a number, equal on all workers


@dataclass(frozen=True)
class Share:
    """What this worker has of a trained weight, and so of its average and its moments.

    Attributes:
        live: the weight: whole, rows of it, or flattened values with padding behind them.
        shape: of the whole.
        start: place of the first value in the flattened whole.
        count: values without padding.
        is_written: whether this worker writes it; what all have, one writes.
    """

    live: Tensor
    shape: tuple[int, ...]
    start: int
    count: int
    is_written: bool = True

    def part(self, value: Tensor) -> Part:
        """A tensor like `live` as a part to write."""
        return Part(_local(value).reshape(-1)[: self.count], self.shape, self.start)

    @torch.no_grad()
    def fill(self, target: Tensor, stored: Stored, name: str) -> None:
        """Copy into `target`, a tensor like `live`, its share of what is stored.

        Raises:
            ValueError: shape or type is another.
        """
        if stored.shape(name) != self.shape or stored.dtype(name) != target.dtype:
            raise ValueError(
                f"{name} is {list(stored.shape(name))} of {stored.dtype(name)}, here"
                f" {list(self.shape)} of {target.dtype}"
            )
        own = _local(target)
        if own.shape == self.shape:
            own.copy_(stored[name])
        else:
            values = stored.values_of(name, self.start, self.start + self.count)
            own.view(-1)[: self.count].copy_(values)


def whole_share(weight: Tensor, *, is_written: bool) -> Share:
    """Of a weight that every worker has."""
    return Share(weight, tuple(weight.shape), 0, weight.numel(), is_written)


def share_of_rows(weight: DTensor) -> Share:
    """Of a weight whose rows FSDP2 has dealt out, as many to each but the last ones."""
    mesh, shape = weight.device_mesh, tuple(weight.shape)
    each = -(-shape[0] // mesh.size())
    first = min(each * mesh.get_local_rank(), shape[0])
    return Share(weight, shape, first * prod(shape[1:]), weight.to_local().numel())


def flat_share(master: Tensor, weight: Tensor, rank: int) -> Share:
    """Of a weight that ZeRO has flattened, padded and cut into equal pieces.

    Args:
        master: [n] the piece of this worker.
        weight: the whole.
        rank: of this worker.
    """
    start = min(rank * master.numel(), weight.numel())
    count = min(master.numel(), weight.numel() - start)
    return Share(master, tuple(weight.shape), start, count)


def parts_to_write(weights: Mapping[str, Tensor], *, is_main: bool) -> dict[str, Part]:
    """What this worker writes of weights: its part where they are split, else the main one all."""
    parts = {}
    for name, value in weights.items():
        if isinstance(value, DTensor):
            parts[name] = share_of_rows(value).part(value)
        elif is_main:
            parts[name] = whole_share(value, is_written=True).part(value)
    return parts


def _local(value: Tensor) -> Tensor:
    return value.to_local().detach() if isinstance(value, DTensor) else value.detach()


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
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: Optimizer,
        order: Sequence[str],
        workers: Workers,
        masters: Mapping[int, Tensor],
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
        for full in sorted(tensors or ()):
            assert tensors is not None
            key, _, name = full.partition(".")
            entries = moments.setdefault(places[name], {})
            if key == _COMMON:
                entries[key] = tensors[full].clone()
                continue
            share = self.shares[self._order[places[name]]]
            entries[key] = torch.zeros_like(share.live.detach())
            share.fill(entries[key], tensors, full)
        optimizer.load_state_dict({"state": moments, "param_groups": list(groups)})
        for group, settings in zip(optimizer.param_groups, given, strict=True):
            group.pop("initial_lr", None)  # of a schedule, which sets it anew
            group.update(settings)

    def _parameters(self) -> list[Tensor]:
        return [p for group in self._optimizer.param_groups for p in group["params"]]
