"""Matrices that workers hold in pieces, each brought whole to one of them, and dealt out again.

Muon needs whole matrices. Here a step takes two exchanges, whatever the number of matrices, each of
which is worked on by one worker alone: the result does not depend on how many there are.
"""

from collections.abc import Mapping, Sequence
from math import prod

import torch
import torch.distributed as dist
from torch import Tensor

from opensora.acceleration.shares import Share
from opensora.acceleration.workers import Workers


class Deal:
    """Which worker has which matrix, and which run of its values each worker holds.

    Args:
        shares: what this worker holds of each matrix; in the same order on all workers.
        workers: of the run.
    """

    def __init__(self, shares: Sequence[Share], workers: Workers) -> None:
        self._workers = workers
        self._shares: Mapping[int, Share] = {id(share.live): share for share in shares}
        runs = workers.gather([(share.start, share.count) for share in shares])
        self._runs = {id(share.live): [run[k] for run in runs] for k, share in enumerate(shares)}
        self._owners: dict[int, int] = {}
        loads = [0] * workers.world_size
        for share in sorted(shares, key=_cost, reverse=True):  # sorted keeps the order of equals
            owner = loads.index(min(loads))
            loads[owner] += _cost(share)
            self._owners[id(share.live)] = owner

    def owns(self, weight: Tensor) -> bool:
        """Whether a matrix is whole on this worker."""
        return self._owners[id(weight)] == self._workers.rank

    def shape(self, weight: Tensor) -> tuple[int, ...]:
        """Of the whole matrix."""
        return self._shares[id(weight)].shape

    def pieces(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """What this worker holds of matrices: [n] each, in the memory of the weights."""
        return [self._shares[id(weight)].own(weight) for weight in weights]

    def collect(self, weights: Sequence[Tensor], values: Sequence[Tensor]) -> list[Tensor]:
        """Bring tensors like the weights whole to their owners.

        Args:
            weights: the same on all workers.
            values: one for each, such as gradients.

        Returns:
            Those that this worker owns, [m, n] each, in the order of `weights`.
        """
        world, rank = self._workers.world_size, self._workers.rank
        own = {
            id(weight): self._shares[id(weight)].own(value)
            for weight, value in zip(weights, values, strict=True)
        }
        sent = [[own[id(w)] for w in weights if self._owners[id(w)] == to] for to in range(world)]
        mine = [weight for weight in weights if self.owns(weight)]
        lengths = [[self._runs[id(w)][source][1] for w in mine] for source in range(world)]
        received = self._exchange(sent, lengths, values[0])
        wholes = []
        for k, weight in enumerate(mine):
            whole = received[rank][k].new_empty(prod(self.shape(weight)))
            for source in range(world):
                start, count = self._runs[id(weight)][source]
                whole[start : start + count] = received[source][k]
            wholes.append(whole.reshape(self.shape(weight)))
        return wholes

    def give_back(self, weights: Sequence[Tensor], wholes: Sequence[Tensor]) -> list[Tensor]:
        """The reverse of `collect`: what this worker holds, [n] of each of `weights`."""
        world = self._workers.world_size
        mine = [weight for weight in weights if self.owns(weight)]
        sent = []
        for to in range(world):
            runs = [self._runs[id(weight)][to] for weight in mine]
            sent.append(
                [
                    whole.reshape(-1)[start : start + count]
                    for whole, (start, count) in zip(wholes, runs, strict=True)
                ]
            )
        from_each = [[w for w in weights if self._owners[id(w)] == by] for by in range(world)]
        lengths = [[self._shares[id(w)].count for w in owned] for owned in from_each]
        received = self._exchange(sent, lengths, weights[0])
        pieces = {
            id(weight): piece
            for owned, values in zip(from_each, received, strict=True)
            for weight, piece in zip(owned, values, strict=True)
        }
        return [pieces[id(weight)] for weight in weights]

    def _exchange(
        self, sent: Sequence[Sequence[Tensor]], lengths: Sequence[Sequence[int]], like: Tensor
    ) -> list[list[Tensor]]:
        """Send flat tensors to each worker; returns those of each, of known lengths."""
        empty = torch.empty(0, dtype=like.dtype, device=like.device)
        data = torch.cat([empty, *(values for row in sent for values in row)])
        target = data.new_empty(sum(map(sum, lengths)))
        with self._workers.meeting():
            dist.all_to_all_single(
                target,
                data,
                [sum(row) for row in lengths],
                [sum(values.numel() for values in row) for row in sent],
            )
        parts = target.split([length for row in lengths for length in row])
        found, place = [], 0
        for row in lengths:
            found.append(list(parts[place : place + len(row)]))
            place += len(row)
        return found


def _cost(share: Share) -> int:
    """Multiplications, up to a factor, that it takes to orthogonalise a matrix."""
    return prod(share.shape) * min(share.shape)
