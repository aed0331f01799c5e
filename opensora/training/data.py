"""Where micro batches come from: stores filled ahead, or files that are decoded and encoded now.

The training step sees a `LatentBatch` either way. Reading happens in background threads on the
CPU; encoding happens on the device, in the order of training.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from opensora.acceleration.workers import Workers
from opensora.buckets.bucket import Bucket
from opensora.config.registry import DATASETS, build_module
from opensora.core.errors import ConfigError
from opensora.core.seed import derive_seed
from opensora.datasets.online import VariableVideoTextDataset, VideoBatch
from opensora.datasets.rejects import Rejects
from opensora.datasets.stored import LatentBatch, LatentDataset
from opensora.models.build import build_autoencoder, build_text_encoder
from opensora.models.device import parse_dtype
from opensora.models.open.door import OPEN, known_model
from opensora.plans.compile import BatchPlan
from opensora.training.captions import CaptionEncoder
from opensora.training.config import TrainConfig


class BatchSource(Protocol):
    """Micro batches by position in the plan.

    Attributes:
        plan: the batch plan.
        latent_identity: the encoder of the latents.
        embedding_identity: the encoder of the captions.
        windows: the most latents that are stored of a clip, of which each epoch draws one.
        captions: the most embeddings, likewise.
        latent_channels: C.
        latent_sizes: (t, h, w) of each bucket of the plan.
        text_dim: D.
        max_length: L.
        num_readers: threads that may read at the same time; None = any number.
        rejects: clips that could not be read; None where all are read before training.
    """

    plan: BatchPlan
    latent_identity: dict[str, Any]
    embedding_identity: dict[str, Any]
    windows: int
    captions: int
    latent_channels: int
    latent_sizes: dict[str, tuple[int, int, int]]
    text_dim: int
    max_length: int
    num_readers: int | None
    rejects: Rejects | None

    def read(self, position: int) -> Any:
        """Read the micro batch at a position, on the CPU; in any order."""

    def encode(self, position: int, batch: Any) -> LatentBatch:
        """Turn what was read into latents and embeddings, on the device."""


def open_source(config: TrainConfig, workers: Workers, plan: Path) -> BatchSource:
    """Open what `config.dataset` describes.

    Args:
        config: dataset, and for online training vae, text_encoder, posterior, dtype.
        workers: the processes of the run.
        plan: the plan to replay.

    Raises:
        ConfigError: something can not be built as configured.
        StoreError: the stores do not hold what the plan asks for.
        TableError: the manifest does not.
        CheckpointError: an encoder can not be loaded.
    """
    is_open = config.model.get("type") == OPEN
    if config.is_online and is_open and (model := known_model(**config.model)):
        model.check_online()  # before the encoders are loaded, which can take minutes
    fields = {**config.dataset, "plan": str(plan)}
    dataset = build_module(fields, DATASETS, seed=config.seed, max_rejected=config.max_rejected)
    if isinstance(dataset, LatentDataset):
        return StoredSource(dataset)
    return OnlineSource(dataset, config, workers)


class StoredSource:
    """Micro batches from the latent and embedding stores; see `BatchSource`."""

    num_readers: int | None = 1  # a store keeps few files open at a time
    rejects: Rejects | None = None

    def __init__(self, dataset: LatentDataset) -> None:
        self._dataset = dataset
        self.plan = dataset.plan
        self.latent_identity = dataset.latent_identity
        self.embedding_identity = dataset.embedding_identity
        self.windows, self.captions = dataset.windows, dataset.captions
        self.latent_channels = dataset.latent_channels
        self.text_dim = dataset.text_dim
        self.max_length = dataset.max_length
        self.latent_sizes = dataset.latent_sizes()

    def read(self, position: int) -> LatentBatch:
        """Read the micro batch at a position."""
        return self._dataset[position]

    def encode(self, position: int, batch: LatentBatch) -> LatentBatch:
        """Return the batch: it is encoded already."""
        return batch


class OnlineSource:
    """Micro batches from video files; see `BatchSource`.

    Args:
        dataset: decodes the clips.
        config: vae, text_encoder, posterior, dtype and seed.
        workers: the encoders are put on their device; the main one hashes the weights.
    """

    num_readers: int | None = None
    windows = captions = 1  # of a clip any window is decoded, and its first caption read

    def __init__(
        self, dataset: VariableVideoTextDataset, config: TrainConfig, workers: Workers
    ) -> None:
        self._dataset = dataset
        self._device, self._workers = workers.device, workers
        self._seed, self._posterior = config.seed, config.posterior
        dtype = "fp32" if workers.device.type == "cpu" else config.dtype
        assert config.vae is not None  # checked with the config
        assert config.text_encoder is not None
        self._vae = build_autoencoder(config.vae)
        if not hasattr(self._vae, "get_latent_size"):
            raise ConfigError(f"vae.type {config.vae.get('type')!r} is no video autoencoder")
        self._vae.to(workers.device, parse_dtype(dtype))
        text_encoder = build_text_encoder(config.text_encoder, workers.device, dtype)
        self._captions = CaptionEncoder(text_encoder)
        self.plan = dataset.plan
        self.rejects: Rejects | None = dataset.rejects
        buckets = {name: Bucket.parse(name) for name in self.plan.items()["bucket"].unique()}
        self.latent_sizes = {
            name: self._vae.get_latent_size((bucket.num_frames, *bucket.size))
            for name, bucket in buckets.items()
        }
        self.latent_channels = int(self._vae.out_channels)
        self.text_dim = self._captions.text_dim
        self.max_length = self._captions.max_length
        identities = workers.gather(self._identities() if workers.is_main else ({}, {}))
        self.latent_identity, self.embedding_identity = identities[0]

    def _identities(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Of both encoders, as `encode-videos` and `encode-captions` write them."""
        latents = {**self._vae.identity(), "posterior": self._posterior}
        return latents, self._captions.identity()

    def read(self, position: int) -> VideoBatch | None:
        """Decode the micro batch at a position; the first worker of a group does, for all."""
        return self._dataset[position] if self._workers.place == 0 else None

    def encode(self, position: int, batch: VideoBatch | None) -> LatentBatch:
        """Encode videos and captions; those who share a video get the same, to the last bit."""
        if self._workers.sp_size == 1:
            assert batch is not None
            return self._encode(position, batch)
        return self._workers.of_group(lambda: self._encode_for_all(position, batch))

    def _encode_for_all(self, position: int, batch: VideoBatch | None) -> LatentBatch:
        assert batch is not None  # this is the first worker of the group
        encoded = self._encode(position, batch)
        for name, value in encoded.items():
            if isinstance(value, Tensor):
                encoded[name] = value.cpu()  # type: ignore[literal-required]
        return encoded

    @torch.no_grad()
    def _encode(self, position: int, batch: VideoBatch) -> LatentBatch:
        """Encode videos and captions.

        The draw from the posterior depends on (seed, epoch, id) alone, so that a resumed run and
        one on other numbers of workers see the same latents.
        """
        epoch = self.plan[position].epoch
        seeds = [derive_seed(self._seed, "posterior", epoch, name) for name in batch["ids"]]
        # noise is drawn on the CPU: a GPU and a CPU give the same latents up to round-off
        latents = self._vae.encode(
            batch["video"].to(self._device, non_blocking=True),
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            posterior=self._posterior,
        )
        y, mask = self._captions.encode(batch["text"], self._coming(position))
        return LatentBatch(
            latents=latents.float(),  # [B, C, T, H, W]
            y=y.float(),
            mask=mask,
            num_frames=batch["num_frames"],
            height=batch["height"],
            width=batch["width"],
            ar=batch["ar"],
            fps=batch["fps"],
            ids=batch["ids"],
        )

    def _coming(self, position: int) -> Iterator[str]:
        """Captions of this worker's micro batches behind a position, as they are planned."""
        for later in range(position, len(self.plan), self._workers.num_groups):
            yield from self._dataset.texts(later)


def read_ahead(source: BatchSource, positions: Sequence[int], num_ahead: int) -> Iterator[Any]:
    """Yield what `source.read` gives for each position, up to `num_ahead` of them read ahead.

    Background threads read, as many as read ahead if the source allows it; nothing is forked.

    Args:
        source: where to read.
        positions: in the plan, in the order wanted.
        num_ahead: batches that wait at most; 0 reads each one when it is needed.
    """
    if num_ahead == 0:
        yield from (source.read(position) for position in positions)
        return
    threads = min(num_ahead, source.num_readers or num_ahead)
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="read_ahead") as pool:
        try:
            for position in positions:
                waiting.append(pool.submit(source.read, position))
                if len(waiting) > num_ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # the run ends early: what nobody waits for is not read
                future.cancel()
