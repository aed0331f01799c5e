"""Time one real training step of a bucket on random data: forward, loss, backward, update."""

import logging
import random
import statistics
import time
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from opensora.acceleration.optimizer import build_optimizer
from opensora.acceleration.precision import autocast, effective_dtype
from opensora.buckets.aspect import get_resolution
from opensora.buckets.bucket import Bucket, TokenGrid
from opensora.buckets.bucket_config import BucketRule
from opensora.config.registry import MODELS, build_module
from opensora.core.errors import ConfigError
from opensora.core.seed import derive_seed
from opensora.datasets.masks import MaskGenerator
from opensora.models.build import use_grad_checkpoint
from opensora.models.layers.embeddings import LabelEmbedder
from opensora.models.open.band_scheduler import scheduler_of
from opensora.models.open.door import OPEN, named_architecture
from opensora.models.open.family import OpenTransformer
from opensora.plans.budget.cost import live_cost, text_sizes
from opensora.schedulers.common import Conditions, size_conditions
from opensora.training.ema import Ema

log = logging.getLogger(__name__)

_NO_MEMORY = "not enough memory"  # what torch's CPU allocator says
FPS = 24.0

_Batch = tuple[Tensor, Conditions]  # latents [B, C, T, H, W] and conditions


class StepTimer:
    """The model of a training config with everything that takes memory in training.

    Weights, optimizer state and the averaged weights are those of one GPU without sharding, so
    that what fits here fits under every plugin.

    Attributes:
        model: the model that is trained.
        cost: its widths.

    Args:
        config: model, scheduler, optimizer, lr, dtype, grad_clip, grad_checkpoint, mask_ratios.
        grid: size of latents and tokens.
        device: where to measure.
        warmup: steps before the clock starts.
        repeats: timed steps, of which the median counts.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        grid: TokenGrid,
        device: torch.device,
        *,
        warmup: int = 1,
        repeats: int = 3,
    ) -> None:
        self._grid, self._device = grid, device
        self._warmup, self._repeats = warmup, repeats
        torch.manual_seed(derive_seed(config.get("seed", 42), "batch size search"))
        fields = {name: v for name, v in config["model"].items() if name != "from_pretrained"}
        length = text_sizes(config)
        is_open = config["model"]["type"] == OPEN
        if is_open:
            fields = {"type": OPEN, "architecture": named_architecture(**config["model"])}
        try:
            model: nn.Module = build_module(fields, MODELS, **({} if is_open else length))
        except ValueError as error:
            raise ConfigError(f"model: {error}") from error
        self.model: nn.Module = model.to(device).train()
        if config.get("grad_checkpoint"):
            use_grad_checkpoint(self.model)
        self.cost = live_cost(self.model, length.get("model_max_length"), None)
        self._scheduler = scheduler_of(self.model, config["scheduler"])
        ratios = config.get("mask_ratios")
        self._masks = MaskGenerator(ratios) if ratios else None
        self._optimizer = build_optimizer(
            self.model, config.get("optimizer") or {}, lr=config.get("lr")
        )
        weights = dict(self.model.named_parameters())
        self._ema = Ema(weights, float(config.get("ema_decay", 0.9999)))
        self._dtype = effective_dtype(config.get("dtype", "bf16"), device)
        self._grad_clip = config.get("grad_clip", 1.0)

    def __call__(self, rule: BucketRule, batch_size: int) -> float | None:
        """Return the median seconds of a step, or None where the memory does not hold it."""
        bucket = self.largest_shape(rule)
        batch: list[_Batch] = []
        try:
            batch.append(self._batch(bucket, batch_size))
            seconds = [self._step(batch[0]) for _ in range(self._warmup + self._repeats)]
            return statistics.median(seconds[self._warmup :])
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not isinstance(error, torch.OutOfMemoryError) and _NO_MEMORY not in str(error):
                raise
            log.info("search %s batch_size=%d out of memory", rule, batch_size)
            return None
        finally:
            batch.clear()
            self._optimizer.zero_grad(set_to_none=True)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def largest_shape(self, rule: BucketRule) -> Bucket:
        """The aspect ratio of a bucket with the most tokens."""
        keys = get_resolution(rule.resolution).sizes
        cells = [Bucket(rule.resolution, rule.num_frames, key) for key in keys]
        return max(cells, key=self._grid.tokens)

    def _batch(self, bucket: Bucket, batch_size: int) -> _Batch:
        """Random latents and conditions of a batch."""
        device = self._device
        size = (batch_size, self.cost.in_channels, *self._grid.latent_size(bucket))
        height, width = bucket.size
        conditions = size_conditions(
            batch_size,
            num_frames=bucket.num_frames,
            height=height,
            width=width,
            fps=FPS,
            device=device,
        )
        latents = torch.randn(size, device=device)
        if isinstance(self.model.y_embedder, LabelEmbedder):
            conditions["y"] = torch.zeros(batch_size, dtype=torch.int64, device=device)
            return latents, conditions
        length = self.cost.text_tokens
        conditions["y"] = torch.randn(
            batch_size, 1, length, self.cost.caption_channels, device=device
        )
        conditions["mask"] = torch.ones(batch_size, length, dtype=torch.int64, device=device)
        if isinstance(self.model, OpenTransformer):
            blank = self.model.blank_conditions(latents)
            conditions = cast(Conditions, {**conditions, **blank})
        return latents, conditions

    def _step(self, batch: _Batch) -> float:
        """One training step; returns its seconds."""
        latents, conditions = batch
        self._wait()
        start = time.perf_counter()
        mask = None
        if self._masks is not None:
            rng = random.Random(0)
            mask = self._masks.get_masks(len(latents), latents.shape[2], rng).to(self._device)
        with autocast(self._dtype, self._device):
            terms = self._scheduler.training_losses(
                self.model, latents, model_kwargs=conditions, mask=mask
            )
        terms["loss"].mean().backward()
        trained = [p for p in self.model.parameters() if p.grad is not None]
        if self._grad_clip:
            nn.utils.clip_grad_norm_(trained, self._grad_clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._ema.update(0)
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def require_parts(config: Mapping[str, Any]) -> None:
    """Check that a config says what to train.

    Raises:
        ConfigError: it has no model or no scheduler.
    """
    for name in ("model", "scheduler"):
        if not config.get(name):
            raise ConfigError(f"the config has no {name}; expected {name} = dict(type=...)")
    if (sp_size := config.get("sp_size", 1)) != 1:
        log.warning(
            "search_batch_size sp_size=%s measured=whole videos on one device: what is found fits"
            " with room to spare where %s workers share them",
            *(sp_size, sp_size),
        )
