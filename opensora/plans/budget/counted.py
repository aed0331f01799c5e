"""What a sample of a bucket costs to train with a model of diffusers: counted, not by a formula.

A forward and a backward pass are run on tensors that have sizes and no values, in `watch.py`. Their
operations, and what the one keeps for the other, are those of the model as it stands in diffusers.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from opensora.buckets.bucket import Size3, TokenGrid
from opensora.core.errors import ConfigError
from opensora.models.open.family import OpenTransformer
from opensora.models.open.pictures import GIVEN, PICTURE
from opensora.plans.balance import SampleCost
from opensora.plans.budget.watch import Blocks, Pass, watched_pass
from opensora.schedulers.common import size_conditions

_SMALL: Size3 = (2, 16, 16)  # tokens from which memory is read, and twice as many frames


class CountedCost:
    """Costs of an open model, which is run without values where they are asked for.

    Attributes:
        patch_size: latent frames, rows and columns of one token.
        in_channels: latent channels.
        caption_channels: width of the text embeddings.
        text_tokens: the length to which captions are padded in training.
        parameters: trainable and frozen weights, adapters among them.
        frozen: weights that are not trained.

    Args:
        model: its weights may be on the meta device. It is shortened in place, so nobody else
            should hold it.
        text_tokens: the length to which captions are padded.
    """

    def __init__(self, model: OpenTransformer, text_tokens: int) -> None:
        self.patch_size, self.in_channels = model.patch_size, model.in_channels
        self.caption_channels, self.text_tokens = model.caption_channels, text_tokens
        self.parameters = sum(p.numel() for p in model.parameters())
        self.frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
        self._model, self._blocks = model, Blocks(model)
        self._pass = cache(self._run)

    def forward_flops(self, grid: Size3) -> float:
        """Operations of the forward pass of one sample of (T, rows, columns) tokens."""
        return self._pass(grid, True).forward

    def training_flops(self, grid: Size3, *, grad_checkpoint: bool = False) -> float:
        """Operations of forward and backward pass of one sample; a second forward pass counts."""
        found = self._pass(grid, True)
        return found.forward * (2 if grad_checkpoint else 1) + found.backward

    def given_values(self, size: Size3) -> int:
        """Values stored of given frames beside a latent of (T, H, W): latents, and embeddings."""
        latent = torch.empty(1, self.in_channels, *size, device="meta")
        beside = self._model.blank_conditions(latent)
        return sum(beside[name].numel() for name in (GIVEN, PICTURE) if name in beside)

    def sample_cost(self, grid: TokenGrid) -> SampleCost:
        """Return a function: operations of the forward pass of one sample of a bucket."""
        return lambda bucket: self.forward_flops(grid.token_grid(bucket))

    def token_bytes(self, *, half: bool, grad_checkpoint: bool) -> float:
        """Bytes that one more token keeps for the backward pass.

        Args:
            half: whether matrix products run in 16 bit.
            grad_checkpoint: whether blocks are recomputed: one at a time, from the inputs of all.
        """
        frames, rows, columns = _SMALL
        one, two = (self._pass((t, rows, columns), half) for t in (frames, 2 * frames))
        kept = two.kept - one.kept
        if grad_checkpoint:
            kept = two.largest - one.largest + two.inputs - one.inputs
        return kept / (frames * rows * columns)

    def _run(self, grid: Size3, half: bool) -> Pass:
        """Forward and backward pass of one sample.

        Raises:
            ConfigError: what the network does follows from values, which are not there.
        """
        frames, height, width = (n * p for n, p in zip(grid, self.patch_size, strict=True))
        words = self.text_tokens
        sizes = {"num_frames": frames, "height": height, "width": width, "fps": 24.0}
        try:
            with FakeTensorMode(allow_non_fake_inputs=True), _WholeMasks():
                x = torch.empty(1, self.in_channels, frames, height, width)
                conditions = dict(size_conditions(1, **sizes, device="cpu"))
                conditions["y"] = torch.empty(1, 1, words, self.caption_channels)
                conditions["mask"] = torch.ones(1, words, dtype=torch.int64)
                conditions |= self._model.blank_conditions(x)
                args = (x, torch.empty(1))
                return self._blocks.run(
                    lambda: watched_pass(self._model, args, conditions, half=half)
                )
        except (RuntimeError, NotImplementedError) as error:
            raise ConfigError(
                f"model: the operations of {type(self._model).__name__} can not be counted without"
                f" values ({type(error).__name__}); leave balance='cost', the forecast and the"
                " search of batch sizes out"
            ) from error


class _WholeMasks(TorchDispatchMode):
    """What a mask picks, where it has no values: everything, and what its opposite picks, nothing.

    So rows that a model deals out by whether they are text keep their number, which is what costs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._opposites: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Answer one operation of torch."""
        aten = torch.ops.aten
        mask = args[1][0] if func is aten.index.Tensor else None
        if mask is not None and mask.dtype == torch.bool:
            picked = args[0].flatten(0, mask.dim() - 1)
            is_opposite = any(mask is known for known in self._opposites)
            return picked[:0].clone() if is_opposite else picked.clone()
        if func is aten._local_scalar_dense.default and args[0].dtype == torch.bool:
            return True  # HunyuanVideo asks whether there is no picture
        out = func(*args, **(kwargs or {}))
        if func is aten.bitwise_not.default and out.dtype == torch.bool:
            self._opposites.append(out)
        return out
