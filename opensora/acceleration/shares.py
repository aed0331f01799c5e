"""What a worker has of one weight, whatever plugin split it: a run of its values.

A weight is whole on every worker (DDP), dealt out by rows (FSDP2), or flattened, padded and cut
into pieces (ZeRO).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from opensora.models.weights.parts import Part, Stored


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

    def own(self, value: Tensor) -> Tensor:
        """The values [count] of a tensor like `live`, in its memory where that is dense."""
        return _local(value).reshape(-1)[: self.count]

    def part(self, value: Tensor) -> Part:
        """A tensor like `live` as a part to write."""
        return Part(self.own(value), self.shape, self.start)

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
