"""Sequence parallelism: the workers of a group share each video, so its activations fit.

Every worker keeps some places of all frames and trades them for whole frames, and back, around
attention within frames: two exchanges a layer of its part of the tokens, whatever the group's size.
Sizes that do not divide are filled up with zeros, which no other token ever sees.

Source: Zhao et al. 2024, arXiv:2403.10266 (DSP).

Axes: B batch, T frames, S places of a frame, D channels; P workers of a group, t and s frames and
places of one worker.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from opensora.acceleration.workers import Workers
from opensora.core.errors import ConfigError


def share_videos(model: nn.Module, workers: Workers) -> None:
    """Let the workers of each group compute a model's outputs together.

    All of a group give the model the same inputs and random state, and receive the same output.
    Gradients of the parameters are the whole ones after the mean over all workers.

    Args:
        model: before a plugin wraps it.
        workers: with `sp_size` above 1; else the model stays as it is.

    Raises:
        ConfigError: the model can not share.
    """
    if workers.sp_size == 1:
        return
    if not getattr(model, "shares_tokens", False):
        raise ConfigError(
            f"sp_size is {workers.sp_size}: several workers can share the videos of STDiT, STDiT2"
            f" and STDiT3, and the model is {type(model).__name__}; set sp_size to 1"
        )
    model.share_tokens = partial(GroupTokens, workers)  # type: ignore[assignment]


@dataclass(frozen=True)
class GroupTokens:
    """Deals out the tokens of one size to the workers of a group; a `SharedTokens` of models.

    Attributes:
        workers: this one and its group.
        frames: T.
        places: S.
    """

    workers: Workers
    frames: int
    places: int

    def split(self, x: Tensor) -> Tensor:
        """The places of this worker, [B, T, s, D], of tokens [B, T, S, D]."""
        own = -(-self.places // self.workers.sp_size)
        first = self.workers.place * own
        return self._fill(x, 2)[:, :, first : first + own].contiguous()

    def to_frames(self, x: Tensor) -> Tensor:
        """Whole frames of this worker, [B, t, S, D], for its places [B, T, s, D]."""
        frames = self._fill(x, 1).unflatten(1, (self.workers.sp_size, -1))  # [B, P, t, s, D]
        blocks = self._trade(frames.transpose(0, 1))  # of whose places: [P, B, t, s, D]
        return blocks.permute(1, 2, 0, 3, 4).flatten(2, 3)[:, :, : self.places].contiguous()

    def to_places(self, x: Tensor) -> Tensor:
        """Places of this worker, [B, T, s, D], for its whole frames [B, t, S, D]."""
        places = self._fill(x, 2).unflatten(2, (self.workers.sp_size, -1))  # [B, t, P, s, D]
        blocks = self._trade(places.permute(2, 0, 1, 3, 4))  # of whose frames: [P, B, t, s, D]
        return blocks.transpose(0, 1).flatten(1, 2)[:, : self.frames].contiguous()

    def join(self, x: Tensor) -> Tensor:
        """Tokens [B, T, S, D], on every worker, of everybody's places [B, T, s, D]."""
        parts: Tensor = _Join.apply(x.contiguous(), self.workers)  # [P, B, T, s, D]
        return parts.permute(1, 2, 0, 3, 4).flatten(2, 3)[:, :, : self.places].contiguous()

    def _trade(self, blocks: Tensor) -> Tensor:
        """What every worker of the group had for this one, for what this one has [P, ...]."""
        traded: Tensor = _Trade.apply(blocks.contiguous(), self.workers)
        return traded

    def _fill(self, x: Tensor, axis: int) -> Tensor:
        """Zeros behind the frames (axis 1) or places (2) of x, to a multiple of the workers."""
        missing = -x.shape[axis] % self.workers.sp_size
        if not missing:
            return x
        return F.pad(x, (0, 0) * (3 - axis) + (0, missing))


class _Trade(torch.autograd.Function):
    """Block p of worker r goes to worker p as block r, and its gradient the same way back."""

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, workers: Workers) -> Tensor:
        """Trade contiguous blocks [P, ...]."""
        ctx.workers = workers
        return _traded(blocks, workers)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Trade the gradients back."""
        return _traded(gradients[0].contiguous(), ctx.workers), None


class _Join(torch.autograd.Function):
    """Parts of all workers, in order.

    All have the same loss of the joined tokens, and the gradient of a parameter is the sum of what
    the workers find for their own. A plugin takes the mean instead, over this group and the others
    alike, so each gradient is multiplied by their number here.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, workers: Workers) -> Tensor:
        """Gather contiguous x [...] to [P, ...]."""
        ctx.workers = workers
        parts = [torch.empty_like(x) for _ in range(workers.sp_size)]
        with workers.meeting():
            dist.all_gather(parts, x, group=workers.sp_group)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient of the own part."""
        return gradients[0][ctx.workers.place] * ctx.workers.sp_size, None


def _traded(blocks: Tensor, workers: Workers) -> Tensor:
    received = torch.empty_like(blocks)
    with workers.meeting():
        dist.all_to_all_single(received, blocks, group=workers.sp_group)
    return received
