"""Encode the clips of a plan with a video autoencoder into a latent store."""

import logging
import math
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from opensora.buckets.bucket import Bucket
from opensora.buckets.bucket_config import IMAGE_FPS
from opensora.core.errors import ConfigError, TableError, VideoError
from opensora.core.io import sha256_file
from opensora.core.log import progress
from opensora.core.seed import derive_seed, stable_shard
from opensora.core.versions import VERSIONS
from opensora.media.frames import read_clip
from opensora.models.device import parse_dtype
from opensora.plans.compile import BatchPlan
from opensora.precompute.latent_doctor import LatentDoctor
from opensora.stores.files import (
    FILE_BYTES,
    check_shard,
    remove_stale,
    under_construction,
)
from opensora.stores.latents import (
    LatentStore,
    is_latent_file,
    latent_file_name,
    write_latent_index,
    write_latents,
)
from opensora.tables.columns import ID, PATH

log = logging.getLogger(__name__)
SAMPLE = "sample"  # posterior of which one draw is stored
_FILE_ITEMS = 1024
_READERS = 2  # threads; decoding releases the interpreter lock
_AHEAD = 8  # clips read before they are wanted, at the bucket's size,
_AHEAD_BYTES = 512 << 20  # fewer if they are larger than this together, but always one


@dataclass(frozen=True, kw_only=True)
class VideoEncoding:
    """How clips become latents.

    Attributes:
        dtype: "bf16" or "fp32": type of the stored latents, and of the autoencoder on a GPU (on a
            CPU it computes in fp32).
        posterior: "sample" (each clip has its own noise, from the seed and its content: a renamed
            clip keeps its latent), "mean", or "moments" (mean and deviation, from which training
            draws anew in every epoch).
        seed: base of the posterior noise.
        batch_size: frames per forward; changes speed, memory and the last bits only.
        min_psnr: the gate: least mean PSNR in dB of decoded latents, per bucket.
        device: "cpu" or "cuda".
    """

    dtype: str = "bf16"
    posterior: str = SAMPLE
    seed: int = 42
    batch_size: int = 16
    min_psnr: float = 15.0
    device: str = "cpu"

    @property
    def compute_dtype(self) -> torch.dtype:
        """Type of the autoencoder's weights."""
        return torch.float32 if self.device == "cpu" else parse_dtype(self.dtype)

    def identity(self, vae: Any) -> dict[str, Any]:
        """What must agree between the latents of one training run."""
        noise = {"seed": self.seed} if self.posterior == SAMPLE else {}
        version = VERSIONS["encode_videos"]
        own = {"dtype": self.dtype, "posterior": self.posterior, "version": version}
        return {**vae.identity(), **own, **noise}


class Part(NamedTuple):
    """The content of one file: rows of `shard_items` of one bucket."""

    bucket: Bucket
    name: str
    rows: pd.DataFrame


class ClipRequest(NamedTuple):
    """A clip to read: its id and file, and the bucket it is for."""

    id: str
    path: str
    bucket: Bucket

    @property
    def num_bytes(self) -> int:
        """Memory of the clip, float32."""
        return 4 * 3 * self.bucket.num_frames * math.prod(self.bucket.size)


def encode_videos(
    manifest: pd.DataFrame,
    plan: BatchPlan,
    vae: Any,
    folder: Path,
    encoding: VideoEncoding,
    *,
    validation: BatchPlan | None = None,
    shard: int = 0,
    num_shards: int = 1,
) -> dict[str, int]:
    """Encode every (clip, bucket) pair of the plan that belongs to a shard.

    Files that hold the right clips from the same encoder, unharmed, are kept: a stopped run goes
    on. Each bucket passes the gate before the next one begins; the index is written last.

    Args:
        manifest: MANIFEST table: path, fps and sha256 of the clips.
        plan: which clips, at which buckets.
        vae: the autoencoder, on `encoding.device`.
        folder: of this shard; `{folder}.partial` while it is being filled.
        encoding: settings.
        validation: plan of held-out clips, which go into the same store.
        shard: index of the shard.
        num_shards: shards in all; a clip belongs to one by a hash of its id.

    Returns:
        Counts: clips, files, kept (files that were already finished).

    Raises:
        ConfigError: no such shard, a bucket without a latent value, or plans of other frames.
        TableError: the manifest lacks clips of the plan, or describes them wrongly.
        VideoError: a clip can not be read.
        StoreError: the latents fail the gate.
    """
    pairs, frame_interval = _pairs(plan, validation)
    items = shard_items(manifest, pairs, shard, num_shards, frame_interval)
    identity = encoding.identity(vae)
    parts = list(_parts(items, vae))
    vae.micro_batch_size = encoding.batch_size
    with under_construction(folder) as work:
        finished = {part.name for part in parts if _is_finished(work, part, identity)}
        doctor = _doctor(work, items, vae, encoding)
        # one reader for all files: it reads on while the last clips of a file are encoded
        with closing(read_clips(_requests(parts, finished), frame_interval)) as clips:
            steps = progress(parts, description="encode_videos")
            for _, bucket_parts in groupby(steps, key=lambda part: part.bucket):
                names = []
                for part in bucket_parts:
                    names.append(part.name)
                    if part.name not in finished:
                        _fill(work / part.name, part, clips, vae, encoding, identity)
                write_latent_index(work, names, identity)
                doctor.examine(LatentStore(work), frame_interval)
                doctor.write()
                doctor.require_health()
        remove_stale(work, [*(part.name for part in parts), *doctor.montages])
        write_latent_index(work, [part.name for part in parts], identity)
        doctor.write()
    return {"clips": len(items), "files": len(parts), "kept": len(finished)}


def _doctor(work: Path, items: pd.DataFrame, vae: Any, encoding: VideoEncoding) -> LatentDoctor:
    """The gate that the latents of these items have to pass."""
    return LatentDoctor(
        work,
        dict(zip(items[ID], items[PATH], strict=True)),
        vae,
        min_psnr=encoding.min_psnr,
        device=encoding.device,
        dtype=encoding.compute_dtype,
    )


def _pairs(plan: BatchPlan, validation: BatchPlan | None) -> tuple[pd.DataFrame, int]:
    """The different (id, bucket) pairs of both plans, sorted, and their frame interval.

    Raises:
        ConfigError: the two take other frames of a clip.
    """
    plans = [plan] if validation is None else [plan, validation]
    intervals = [int(each.metadata.get("frame_interval", 1)) for each in plans]
    if intervals[0] != intervals[-1]:
        raise ConfigError(
            f"--plan takes every {intervals[0]}-th frame and --validation every {intervals[-1]}-th;"
            " make both with one run of assign-buckets"
        )
    pairs = pd.concat([each.items() for each in plans]).drop_duplicates()
    return pairs.sort_values(["bucket", ID], ignore_index=True), intervals[0]


def shard_items(
    manifest: pd.DataFrame, pairs: pd.DataFrame, shard: int, num_shards: int, frame_interval: int
) -> pd.DataFrame:
    """Return the shard's pairs with path, sha256 and fps of the used frames.

    Args:
        manifest: as of `encode_videos`.
        pairs: id and bucket.
        shard: index of the shard.
        num_shards: shards in all.
        frame_interval: source frames per used frame.

    Raises:
        ConfigError: no such shard.
        TableError: the manifest lacks clips of the plan, or describes them wrongly.
    """
    check_shard(shard, num_shards)
    mine = pairs[pairs[ID].map(lambda name: stable_shard(name, num_shards) == shard).astype(bool)]
    items = mine.merge(manifest[[ID, PATH, "fps", "sha256"]], on=ID, how="left")
    if items[PATH].isna().any():
        absent = items.loc[items[PATH].isna(), ID]
        raise TableError(
            f"the manifest lacks {len(absent)} clips of the plan, the first {absent.iloc[0]!r}; run"
            " assign_buckets again with this manifest"
        )
    rates = items["fps"].astype(float)
    if not (rates > 0).all():
        wrong = items[~(rates > 0)].iloc[0]
        raise TableError(
            f"the manifest gives clip {wrong[ID]!r} {wrong['fps']} frames a second, expected more"
            " than 0; run build_manifest again"
        )
    is_image = items["bucket"].map(lambda name: Bucket.parse(name).is_image)
    return items.assign(
        fps=(rates / frame_interval).mask(is_image.astype(bool), IMAGE_FPS),
        sha256=items["sha256"].fillna(""),
    )


def _parts(items: pd.DataFrame, vae: Any) -> Iterator[Part]:
    """Cut the items into files of one bucket and a bounded size, bucket by bucket."""
    for name, rows in items.groupby("bucket", sort=True):
        bucket = Bucket.parse(str(name))
        latent_t, latent_h, latent_w = vae.get_latent_size((bucket.num_frames, *bucket.size))
        item_bytes = 4 * int(vae.out_channels) * latent_t * latent_h * latent_w  # at most
        if item_bytes == 0:
            height, width = bucket.size
            raise ConfigError(
                f"bucket {bucket} ({height}x{width} pixels) is smaller than one latent value of"
                f" {tuple(vae.patch_size)} (frames, rows, columns); use a larger resolution"
            )
        length = max(1, min(_FILE_ITEMS, FILE_BYTES // item_bytes))
        for part, start in enumerate(range(0, len(rows), length)):
            yield Part(bucket, latent_file_name(bucket, part), rows.iloc[start : start + length])


def _is_finished(work: Path, part: Part, identity: dict[str, Any]) -> bool:
    return is_latent_file(work / part.name, part.rows, part.bucket, identity)


def _requests(parts: Iterable[Part], finished: Collection[str]) -> Iterator[ClipRequest]:
    for part in (part for part in parts if part.name not in finished):
        for name, path in zip(part.rows[ID], part.rows[PATH], strict=True):
            yield ClipRequest(name, path, part.bucket)


def _fill(
    path: Path,
    part: Part,
    clips: Iterator[Tensor],
    vae: Any,
    encoding: VideoEncoding,
    identity: dict[str, Any],
) -> None:
    """Encode and write one file."""
    latents = list(_encode(part, clips, vae, encoding))
    write_latents(path, latents, part.rows, part.bucket, identity)
    log.info("encoded bucket=%s clips=%d", part.bucket, len(part.rows))


def _encode(
    part: Part, clips: Iterator[Tensor], vae: Any, encoding: VideoEncoding
) -> Iterator[Tensor]:
    """Yield the latent [C, T, H, W] of each row, on the CPU in the stored type.

    A batch always has as many clips, the last one repeated where the file ends: kernels round
    differently at another batch size, not for other neighbours. So a clip's latent depends on the
    clip, the seed and `batch_size` alone, and a file made anew has the same bytes.
    """
    vae.micro_batch_size = encoding.batch_size
    batch_size = max(1, encoding.batch_size // part.bucket.num_frames)
    for start in range(0, len(part.rows), batch_size):
        rows = part.rows.iloc[start : start + batch_size]
        pixels = list(islice(clips, len(rows)))
        missing = batch_size - len(rows)
        seeds = _noise_seeds(rows, encoding)
        batch = torch.stack(pixels + pixels[-1:] * missing)
        latents = _forward(batch, vae, encoding, seeds + seeds[-1:] * missing)
        yield from latents[: len(rows)].to("cpu", parse_dtype(encoding.dtype))


def _noise_seeds(rows: pd.DataFrame, encoding: VideoEncoding) -> list[int]:
    """A seed for each clip that was just read, by its content and not by its name.

    A file that the manifest gives no sha256 is hashed here, where something is drawn at all.
    """
    contents: list[str] = rows["sha256"].tolist()
    if encoding.posterior == SAMPLE:
        named = zip(contents, rows[PATH], strict=True)
        contents = [content or sha256_file(path) for content, path in named]
    return [derive_seed(encoding.seed, "posterior", content) for content in contents]


@torch.no_grad()
def _forward(pixels: Tensor, vae: Any, encoding: VideoEncoding, seeds: list[int]) -> Tensor:
    """Encode [B, 3, T, H, W]; when memory is short, halve the frames per call for this file."""
    on_device = pixels.to(encoding.device, encoding.compute_dtype)
    while True:
        # noise is drawn on the CPU: a GPU and a CPU give the same latents up to round-off
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        try:
            latents: Tensor = vae.encode(
                on_device, generator=generators, posterior=encoding.posterior
            )
            return latents
        except torch.OutOfMemoryError:
            if vae.micro_batch_size == 1:
                raise
            vae.micro_batch_size = max(1, vae.micro_batch_size // 2)
            log.warning("out of memory: frames_per_forward=%d", vae.micro_batch_size)


def read_clips(
    requests: Iterable[ClipRequest], frame_interval: int
) -> Generator[Tensor, None, None]:
    """Yield `read_clip` of each request in order, some clips ahead in threads.

    Closing the iterator, or leaving it by an error, waits for the clips that are being decoded
    and drops the rest.

    Raises:
        VideoError: names the clip that can not be read, when its turn has come.
    """
    pending: deque[tuple[Future[Tensor], int]] = deque()
    waiting = 0  # bytes of the pending clips
    with ThreadPoolExecutor(_READERS, thread_name_prefix="read_clips") as pool:
        try:
            for request in requests:
                future = pool.submit(_read_request, request, frame_interval)
                pending.append((future, request.num_bytes))
                waiting += request.num_bytes
                while len(pending) > 1 and (len(pending) > _AHEAD or waiting > _AHEAD_BYTES):
                    future, size = pending.popleft()
                    waiting -= size
                    yield future.result()
            while pending:
                yield pending.popleft()[0].result()
        finally:
            for future, _ in pending:
                future.cancel()


def _read_request(request: ClipRequest, frame_interval: int) -> Tensor:
    try:
        bucket = request.bucket
        return read_clip(request.path, bucket.num_frames, bucket.size, frame_interval)
    except VideoError as error:
        raise VideoError(error.reason, f"clip {request.id}: {error.detail}") from error
