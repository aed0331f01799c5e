"""Training batches from the stores: the plan says which, the stores say what."""

from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from opensora.core.errors import StoreError
from opensora.core.registry import DATASETS
from opensora.datasets.embedding_store import EmbeddingStore
from opensora.datasets.latent_store import LatentStore
from opensora.datasets.plan import BatchPlan


class LatentBatch(TypedDict):
    """One micro batch; B clips of one bucket.

    `latents` float32 [B, C, T, H, W]; `y` float32 [B, 1, L, D] text tokens, zero beyond each
    caption; `mask` int64 [B, L], 1 where a token is; `num_frames`, `height`, `width` (pixels),
    `ar` = height / width and `fps` float32 [B]; `ids` B clip ids.
    """

    latents: Tensor
    y: Tensor
    mask: Tensor
    num_frames: Tensor
    height: Tensor
    width: Tensor
    ar: Tensor
    fps: Tensor
    ids: list[str]


@DATASETS.register_module("LatentDataset")
class LatentDataset:
    """Micro batches of a plan by position; reading one depends on nothing that was read before.

    Step s on rank r of W ranks reads position s * W + r.

    Attributes:
        plan: the batch plan.
        latent_identity: the encoder of the latents; a run keeps it with its state.
        embedding_identity: the encoder of the captions.
        latent_channels: C.
        text_dim: D.
        max_length: L, the token length of the text encoder.
    """

    def __init__(self, latents: str | Path, embeddings: str | Path, plan: str | Path) -> None:
        """Open the stores and check that they hold everything the plan asks for.

        Args:
            latents: folder of the latent store.
            embeddings: folder of the embedding store.
            plan: `plan.parquet`.

        Raises:
            TableError: the plan is missing.
            StoreError: a store is missing, damaged, or lacks clips of the plan.
        """
        self.plan = BatchPlan(plan)
        self._latents = LatentStore(latents)
        self._embeddings = EmbeddingStore(embeddings)
        self.latent_identity = self._latents.identity
        self.embedding_identity = self._embeddings.identity
        items = self.plan.items()
        self._require_all("latents", latents, "encode_videos", len(self._latents.missing(items)))
        absent = self._embeddings.missing(items["id"].drop_duplicates())
        self._require_all("embeddings", embeddings, "encode_captions", len(absent))
        self.max_length = int(self.embedding_identity["model_max_length"])
        first = self.plan[0]
        self.latent_channels = len(self._latents.get(first.ids[0], first.bucket))
        self.text_dim = self._embeddings.get(first.ids[0]).shape[1]

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, position: int) -> LatentBatch:
        """Read the micro batch at a flat position of the plan."""
        _, bucket, ids = self.plan[position]
        latents = torch.stack([self._latents.get(name, bucket) for name in ids])
        rows = self._latents.rows.iloc[[self._latents.locate(name, bucket) for name in ids]]
        y, mask = self._text(ids)
        height, width = (
            torch.from_numpy(rows[name].to_numpy(np.float32)) for name in ("height", "width")
        )
        return LatentBatch(
            latents=latents.float(),  # [B, C, T, H, W]
            y=y,
            mask=mask,
            num_frames=torch.from_numpy(rows["num_frames"].to_numpy(np.float32)),
            height=height,
            width=width,
            ar=height / width,
            fps=torch.from_numpy(rows["fps"].to_numpy(np.float32)),
            ids=ids,
        )

    def _text(self, ids: list[str]) -> tuple[Tensor, Tensor]:
        """Pad the captions to the encoder's length: the model's null caption has that length."""
        y = torch.zeros(len(ids), 1, self.max_length, self.text_dim)
        mask = torch.zeros(len(ids), self.max_length, dtype=torch.int64)
        for index, name in enumerate(ids):
            tokens = self._embeddings.get(name)  # [tokens, D]
            y[index, 0, : len(tokens)] = tokens
            mask[index, : len(tokens)] = 1
        return y, mask

    @staticmethod
    def _require_all(what: str, where: str | Path, rule: str, missing: int) -> None:
        if missing:
            raise StoreError(
                f"{where}: {what} of {missing} clips of the plan are missing; run {rule} again with"
                " the same manifest and plan"
            )
