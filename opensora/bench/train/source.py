"""Micro batches in memory, of one size, for `bench train`: what a loader would have read ahead."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from opensora.buckets.bucket import Bucket
from opensora.datasets.rejects import Rejects
from opensora.datasets.stored import LatentBatch
from opensora.plans.compile import BatchPlan, compile_plan, write_plan
from opensora.schedulers.common import size_conditions

STRIDE = 8  # of the autoencoder that the XL/2 models are made for
CHANNELS = 4
FPS = 24.0
MAX_LENGTH, TEXT_DIM = 120, 4096  # of T5-XXL's captions in the shipped configs
_FEWEST = 8  # tokens of the shortest caption


class MemorySource:
    """The same random micro batch at every position of a plan; see `training.data.BatchSource`.

    Captions have from 8 tokens to all, as ragged as those of people.

    Args:
        folder: where the plan is written.
        bucket: what each batch is of.
        batch_size: B.
        steps: micro batches of the plan.
        text_dim: channels of the captions.
        max_length: to which captions are padded.
        latent: (C, T, H, W); None = those of the autoencoder of the XL/2 models.
        longest: tokens of the longest caption; None = all.
    """

    latent_identity: dict[str, Any]
    embedding_identity: dict[str, Any]
    windows = captions = 1
    num_readers: int | None = None
    rejects: Rejects | None = None

    def __init__(
        self,
        folder: Path,
        bucket: Bucket,
        batch_size: int,
        steps: int,
        *,
        text_dim: int = TEXT_DIM,
        max_length: int = MAX_LENGTH,
        latent: tuple[int, int, int, int] | None = None,
        longest: int | None = None,
    ) -> None:
        self.latent_identity = {"type": "random"}
        self.embedding_identity = {"type": "random"}
        self.text_dim, self.max_length = text_dim, max_length
        height, width = bucket.size
        own = (CHANNELS, bucket.num_frames, height // STRIDE, width // STRIDE)
        self.latent_channels, t, h, w = latent or own
        self.latent_sizes = {str(bucket): (t, h, w)}
        self._longest = longest or max_length
        self.path = folder / "plan.parquet"
        write_plan(_plan(bucket, batch_size, steps), self.path)
        self.plan = BatchPlan(self.path)
        self._batch = self._random(bucket, batch_size)

    def read(self, position: int) -> LatentBatch:
        """The batch, whose tensors the trainer copies to its device."""
        return self._batch

    def encode(self, position: int, batch: LatentBatch) -> LatentBatch:
        """The batch itself."""
        return batch

    def _random(self, bucket: Bucket, batch_size: int) -> LatentBatch:
        """Normal latents and captions in half precision, as stores keep them."""
        generator = torch.Generator().manual_seed(0)
        height, width = bucket.size
        shape = (batch_size, self.latent_channels, *self.latent_sizes[str(bucket)])
        latents = torch.randn(shape, generator=generator)
        y = torch.randn(batch_size, 1, self.max_length, self.text_dim, generator=generator)
        lengths = torch.linspace(min(_FEWEST, self._longest), self._longest, batch_size)
        mask = torch.arange(self.max_length) < lengths[:, None]  # [B, L]
        sizes = size_conditions(
            batch_size, num_frames=bucket.num_frames, height=height, width=width, fps=FPS
        )
        return LatentBatch(
            latents=latents.bfloat16(),
            y=(y * mask[:, None, :, None]).bfloat16(),
            mask=mask.long(),
            num_frames=sizes["num_frames"],
            height=sizes["height"],
            width=sizes["width"],
            ar=sizes["ar"],
            fps=sizes["fps"],
            ids=[f"clip-{number}" for number in range(batch_size)],
        )


def _plan(bucket: Bucket, batch_size: int, steps: int) -> pd.DataFrame:
    """As many micro batches, each of clips of its own."""
    height, width = bucket.size
    rows = pd.DataFrame(
        {
            "id": [f"clip-{number}" for number in range(batch_size * steps)],
            "bucket_resolution": bucket.resolution,
            "bucket_frames": bucket.num_frames,
            "bucket_aspect_ratio": bucket.aspect_ratio,
            "bucket_height": height,
            "bucket_width": width,
            "reason": "",
        }
    )
    buckets = {bucket.resolution: {bucket.num_frames: (1.0, batch_size)}}
    return compile_plan([rows], buckets, seed=0, epochs=1)
