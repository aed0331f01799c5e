"""Training batches from the stores: the plan says which, the stores say what."""

from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from opensora.buckets.bucket import Bucket
from opensora.config.given_frames import FIRST_LAST
from opensora.config.registry import DATASETS
from opensora.core.errors import StoreError
from opensora.core.seed import derive_seed, take_turns
from opensora.models.vae.base import sample_moments
from opensora.plans.compile import BatchPlan
from opensora.schedulers.common import Conditions
from opensora.stores.embeddings import EmbeddingStore
from opensora.stores.keys import MOMENTS
from opensora.stores.latents import TENSOR, LatentStore
from opensora.stores.memory import BatchMemory


class LatentBatch(Conditions):
    """One micro batch with the conditions of the model; B clips of one bucket.

    `latents` [B, C, T, H, W]; `y` [B, 1, L, D] is zero beyond each caption and `mask` int64, 1
    where a token is; class labels are `y` [B] int64. Sizes and rate are float32; `ids` B clip ids.
    Where frames are given, `given`, `num_given` and maybe `picture` are as in `Conditions`.
    `latents` and `y` have the type in which they are stored: the trainer widens them on its
    device, which halves what is copied before.
    """

    latents: Tensor
    ids: list[str]


@lru_cache(maxsize=4096)
def _facts(bucket: Bucket) -> np.ndarray:
    """Frames, height, width and height / width of a bucket, [4, 1]."""
    height, width = bucket.size
    return np.array([[bucket.num_frames], [height], [width], [height / width]])


@DATASETS.register_module("LatentDataset")
class LatentDataset:
    """Micro batches of a plan by position; reading one depends on nothing that was read before.

    Step s on rank r of W ranks reads position s * W + r. Rows are copied once, from the memory
    map of their file into the batch, which lies in page-locked memory where there is a GPU.

    Attributes:
        plan: the batch plan.
        validation: where that of the held-out clips stands; None without any.
        latent_identity: the encoder of the latents; a run keeps it with its state.
        embedding_identity: the encoder of the captions.
        windows: the most latents that a clip has at a bucket; every epoch draws one of them.
        captions: the most embeddings that a clip has, likewise.
        latent_channels: C.
        text_dim: D.
        max_length: L, the token length of the text encoder; 1 of pooled texts and labels.
    """

    def __init__(
        self,
        latents: str | Path,
        embeddings: str | Path,
        plan: str | Path,
        *,
        validation: str | Path | None = None,
        seed: int = 42,
    ) -> None:
        """Open the stores and check that they hold everything the plan asks for.

        Args:
            latents: folder of the latent store.
            embeddings: folder of the embedding store.
            plan: `plan.parquet`.
            validation: plan of the clips on which the held-out loss is measured.
            seed: of the draws from latents that are stored as moments, and of a caption of several;
                with the epoch and the id of a clip it decides the draw, so every epoch sees
                another one.

        Raises:
            TableError: the plan is missing.
            StoreError: a store is missing, damaged, or lacks clips of the plan.
        """
        self.plan, self.validation = BatchPlan(plan), validation
        self._latents = LatentStore(latents)
        self._embeddings = EmbeddingStore(embeddings)
        self._seed = seed
        self._memory = BatchMemory(pinned=torch.cuda.is_available())
        self.latent_identity = self._latents.identity
        self.embedding_identity = self._embeddings.identity
        self.windows, self.captions = self._latents.windows, self._embeddings.captions
        self._are_moments = self.latent_identity.get("posterior") == MOMENTS
        items = self.plan.items()
        self._require_all("latents", latents, "encode_videos", len(self._latents.missing(items)))
        absent = self._embeddings.missing(items["id"].drop_duplicates())
        self._require_all("embeddings", embeddings, "encode_captions", len(absent))
        self.max_length = self._embeddings.max_length
        self._places = np.arange(self.max_length)
        first = self.plan[0]
        stored = len(self._latents.get(first.ids[0], first.bucket))
        self.latent_channels = stored // 2 if self._are_moments else stored
        self.text_dim = self._embeddings.at(self._caption(0, first.ids[0])).shape[1]

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, position: int) -> LatentBatch:
        """Read the micro batch at a flat position of the plan."""
        return self.read_clips(*self.plan[position])

    def missing(self, items: pd.DataFrame) -> set[tuple[str, str]]:
        """Those (id, bucket) of `items` that lack latents or an embedding."""
        latents = self._latents.missing(items)
        captions = items[items["id"].isin(self._embeddings.missing(items["id"].drop_duplicates()))]
        absent = (zip(table["id"], table["bucket"], strict=True) for table in (latents, captions))
        return {pair for pairs in absent for pair in pairs}

    def latent_sizes(self) -> dict[str, tuple[int, int, int]]:
        """Latent frames, rows and columns of each bucket of the plan."""
        firsts = self.plan.items().drop_duplicates("bucket")
        sizes = {}
        for name, bucket in zip(firsts["id"], firsts["bucket"], strict=True):
            t, h, w = self._latents.get(name, Bucket.parse(bucket)).shape[1:]
            sizes[bucket] = (t, h, w)
        return sizes

    def read_clips(self, epoch: int, bucket: Bucket, ids: list[str]) -> LatentBatch:
        """Read clips of one bucket as an epoch sees them."""
        rows = [self._window(epoch, bucket, name) for name in ids]
        read = self._latents.read(rows, self._memory)
        latents = read.pop(TENSOR)
        if self._are_moments:
            latents = self._draw(latents, epoch, ids)
        y, lengths = self._embeddings.read(
            [self._caption(epoch, name) for name in ids],
            self.max_length,  # the model's null caption has this length
            self._memory,
        )
        facts = np.empty((5, len(ids)), dtype=np.float32)
        facts[:4] = _facts(bucket)
        facts[4] = self._latents.fps[rows]
        num_frames, height, width, ratio, fps = torch.from_numpy(facts)
        return LatentBatch(
            latents=latents,  # [B, C, T, H, W]
            y=y[:, 0, 0] if self._embeddings.holds_labels else y[:, None],
            mask=torch.from_numpy((self._places < lengths[:, None]).astype(np.int64)),
            num_frames=num_frames,
            height=height,
            width=width,
            ar=ratio,
            fps=fps,
            ids=ids,
            **self._given(read),
        )

    def _given(self, beside: dict[str, Tensor]) -> Conditions:
        """What a model is told of given frames, of what stands beside B latents."""
        if not beside:
            return {}
        number = 1.0 + (self.latent_identity["given"] == FIRST_LAST)
        found = {**beside, "num_given": torch.full((len(beside["given"]),), number)}
        return cast(Conditions, found)

    def _window(self, epoch: int, bucket: Bucket, name: str) -> int:
        """Where the window of a clip stands that an epoch sees; of those that are encoded."""
        places = self._latents.locate_all(name, bucket)
        return places[self._turn("window", epoch, name, len(places))]

    def _caption(self, epoch: int, name: str) -> int:
        """Where the caption of a clip stands that an epoch sees; of those with an embedding."""
        places = self._embeddings.locate_all(name)
        return int(places[self._turn("caption", epoch, name, len(places))])

    def _turn(self, what: str, epoch: int, name: str, number: int) -> int:
        return take_turns(number, epoch, seed=self._seed, what=what, identity=name)

    def _draw(self, moments: Tensor, epoch: int, ids: list[str]) -> Tensor:
        """Draw latents [B, C, T, H, W] from moments [B, 2 C, T, H, W].

        By id and not by content: such a draw is kept nowhere and belongs to the plan, which says
        ids, and training from videos, whose tables may know no hash, makes the same one.
        """
        seeds = [derive_seed(self._seed, "posterior", epoch, name) for name in ids]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return sample_moments(moments.float(), generators).to(moments.dtype)

    @staticmethod
    def _require_all(what: str, where: str | Path, rule: str, missing: int) -> None:
        if missing:
            raise StoreError(
                f"{where}: {what} of {missing} clips of the plan are missing; run {rule} again with"
                " the same manifest and plan"
            )
