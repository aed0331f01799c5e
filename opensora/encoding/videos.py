"""Encode the clips of a plan with a video autoencoder into a latent store."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from opensora.core.errors import TableError
from opensora.core.logging import progress
from opensora.core.seed import derive_seed, stable_shard
from opensora.core.versions import VERSIONS
from opensora.datasets.bucket import IMAGE_FRAMES, Bucket
from opensora.datasets.latent_store import (
    LatentStore,
    is_finished,
    latent_file_name,
    write_latent_index,
    write_latents,
)
from opensora.datasets.plan import BatchPlan
from opensora.encoding.clips import read_clips
from opensora.encoding.doctor import examine, require_health
from opensora.encoding.workplace import remove_stale, under_construction
from opensora.tables.columns import ID, PATH

log = logging.getLogger(__name__)

IMAGE_FPS = 120.0  # what the model is told for images, as the reference does
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
_FILE_BYTES = 256 << 20
_FILE_ITEMS = 1024


@dataclass(frozen=True, kw_only=True)
class VideoEncoding:
    """How clips become latents.

    Attributes:
        dtype: "bf16" or "fp32": type of the stored latents, and of the autoencoder on a GPU (on a
            CPU it computes in fp32).
        posterior: "sample" (each clip has its own noise, from seed and id) or "mean".
        seed: base of the posterior noise.
        batch_size: frames per forward; changes speed and memory only.
        min_psnr: the gate: least mean PSNR in dB of decoded latents, per bucket.
        device: "cpu" or "cuda".
    """

    dtype: str = "bf16"
    posterior: str = "sample"
    seed: int = 42
    batch_size: int = 16
    min_psnr: float = 15.0
    device: str = "cpu"

    @property
    def compute_dtype(self) -> torch.dtype:
        """Type of the autoencoder's weights."""
        return torch.float32 if self.device == "cpu" else DTYPES[self.dtype]

    def identity(self, vae: Any) -> dict[str, Any]:
        """What must agree between the latents of one training run."""
        noise = {"seed": self.seed} if self.posterior == "sample" else {}
        version = VERSIONS["encode_videos"]
        own = {"dtype": self.dtype, "posterior": self.posterior, "version": version}
        return {**vae.identity(), **own, **noise}


def encode_videos(
    manifest: pd.DataFrame,
    plan: BatchPlan,
    vae: Any,
    folder: Path,
    encoding: VideoEncoding,
    *,
    shard: int = 0,
    num_shards: int = 1,
) -> dict[str, int]:
    """Encode every (clip, bucket) pair of the plan that belongs to a shard.

    Files that hold the right clips from the same encoder are kept, so a stopped run continues.
    The index is written last, after the gate.

    Args:
        manifest: MANIFEST table: path, fps and sha256 of the clips.
        plan: which clips, at which buckets.
        vae: the autoencoder, on `encoding.device`.
        folder: of this shard; `{folder}.partial` while it is being filled.
        encoding: settings.
        shard: index of the shard.
        num_shards: shards in all; a clip belongs to one by a hash of its id.

    Returns:
        Counts: clips, files, kept (files that were already finished).

    Raises:
        TableError: the plan names clips that the manifest does not have.
        VideoError: a clip can not be read.
        StoreError: the latents fail the gate.
    """
    frame_interval = int(plan.metadata.get("frame_interval", 1))
    items = shard_items(manifest, plan, shard, num_shards, frame_interval)
    identity = encoding.identity(vae)
    vae.micro_batch_size = encoding.batch_size
    names, kept = [], 0
    with under_construction(folder) as work:
        for bucket, name, rows in progress(list(_parts(items, vae)), description="encode_videos"):
            names.append(name)
            if is_finished(work / name, rows, bucket, identity):
                kept += 1
                continue
            latents = list(_encode(rows, bucket, vae, encoding, frame_interval))
            write_latents(work / name, latents, rows, bucket, identity)
            log.info("encoded bucket=%s clips=%d file=%s", bucket, len(rows), name)
        remove_stale(work, names)
        write_latent_index(work, names, identity)
        report = examine(
            LatentStore(work),
            dict(zip(items[ID], items[PATH], strict=True)),
            vae,
            min_psnr=encoding.min_psnr,
            frame_interval=frame_interval,
            device=encoding.device,
            dtype=encoding.compute_dtype,
        )
        require_health(report, work)
    return {"clips": len(items), "files": len(names), "kept": kept}


def shard_items(
    manifest: pd.DataFrame, plan: BatchPlan, shard: int, num_shards: int, frame_interval: int
) -> pd.DataFrame:
    """Return the shard's part of the plan: id, bucket, path, sha256 and fps told to the model.

    Raises:
        TableError: the plan names clips that the manifest does not have.
    """
    pairs = plan.items()
    mine = pairs[pairs[ID].map(lambda name: stable_shard(name, num_shards) == shard).astype(bool)]
    items = mine.merge(manifest[[ID, PATH, "fps", "sha256"]], on=ID, how="left")
    if items[PATH].isna().any():
        absent = items.loc[items[PATH].isna(), ID]
        raise TableError(
            f"the manifest lacks {len(absent)} clips of the plan, the first {absent.iloc[0]!r}; run"
            " assign_buckets again with this manifest"
        )
    is_image = items["bucket"].map(lambda name: Bucket.parse(name).num_frames == IMAGE_FRAMES)
    fps = (items["fps"] / frame_interval).astype(float)
    return items.assign(fps=fps.mask(is_image.astype(bool), IMAGE_FPS))


def _parts(items: pd.DataFrame, vae: Any) -> Iterator[tuple[Bucket, str, pd.DataFrame]]:
    """Cut the items into files of one bucket and a bounded size."""
    for name, rows in items.groupby("bucket", sort=True):
        bucket = Bucket.parse(str(name))
        latent_t, latent_h, latent_w = vae.get_latent_size((bucket.num_frames, *bucket.size))
        item_bytes = 4 * int(vae.out_channels) * latent_t * latent_h * latent_w
        length = max(1, min(_FILE_ITEMS, _FILE_BYTES // item_bytes))
        for part, start in enumerate(range(0, len(rows), length)):
            yield bucket, latent_file_name(bucket, part), rows.iloc[start : start + length]


def _encode(
    rows: pd.DataFrame, bucket: Bucket, vae: Any, encoding: VideoEncoding, frame_interval: int
) -> Iterator[Tensor]:
    """Yield the latent [C, T, H, W] of each row, on the CPU in the stored type."""
    # a draw from the posterior has its own seed per clip, so such clips are encoded one by one
    together = max(1, encoding.batch_size // bucket.num_frames)
    batch_size = together if encoding.posterior == "mean" else 1
    ids: list[str] = rows[ID].tolist()
    batch: list[Tensor] = []
    for position, clip in enumerate(read_clips(rows, bucket, frame_interval)):
        batch.append(clip)
        if len(batch) == batch_size or position == len(ids) - 1:
            seed = derive_seed(encoding.seed, "posterior", ids[position])
            for latents in _forward(torch.stack(batch), vae, encoding, seed):
                yield latents.to("cpu", DTYPES[encoding.dtype])
            batch = []


@torch.no_grad()
def _forward(pixels: Tensor, vae: Any, encoding: VideoEncoding, seed: int) -> Tensor:
    """Encode [B, 3, T, H, W]; halve the frames per call for good when the GPU's memory is short."""
    on_device = pixels.to(encoding.device, encoding.compute_dtype)
    while True:
        # noise is drawn on the CPU: a GPU and a CPU give the same latents up to round-off
        generator = torch.Generator().manual_seed(seed)
        try:
            latents: Tensor = vae.encode(
                on_device, generator=generator, posterior=encoding.posterior
            )
            return latents
        except torch.OutOfMemoryError:
            if vae.micro_batch_size == 1:
                raise
            vae.micro_batch_size = max(1, vae.micro_batch_size // 2)
            log.warning("out of memory: frames_per_forward=%d from now on", vae.micro_batch_size)
