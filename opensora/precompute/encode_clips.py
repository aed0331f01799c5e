"""Encode the clips that the store lacks: read ahead, batched, measured, written file by file."""

import logging
import math
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from opensora.buckets.bucket import Bucket
from opensora.core.errors import ConfigError, VideoError
from opensora.core.guard import Guard
from opensora.core.log import progress
from opensora.core.seed import derive_seed
from opensora.media.frames import read_clip
from opensora.media.unchanged import check_unchanged
from opensora.models.device import parse_dtype
from opensora.models.open.pictures import encode_given
from opensora.precompute.latent_doctor import decibels, few, latent_facts, round_trip, write_montage
from opensora.precompute.video_encoding import VideoEncoding
from opensora.stores.catalogue import Catalogue
from opensora.stores.files import map_tensors
from opensora.stores.keys import FILE_BYTES, FILE_LATENTS, KEY, MOMENTS
from opensora.stores.latents import TENSOR, write_latents
from opensora.tables.columns import ID, PATH, WINDOW

log = logging.getLogger(__name__)
_READERS = 2  # threads; decoding releases the interpreter lock
_AHEAD = 8  # clips read before they are wanted, at the bucket's size,
_AHEAD_BYTES = 512 << 20  # fewer if they are larger than this together, but always one

# an autoencoder, and the device where it is
Load = Callable[[], tuple[Any, str]]
Encoded = dict[str, Tensor]  # of a clip, or with rows of several: latents, and what is beside


class ClipRequest(NamedTuple):
    """A clip to read: id, file, bucket, the SHA-256 that is expected, and its first frame."""

    id: str
    path: str
    bucket: Bucket
    frame_interval: int
    sha256: str = ""
    window: int = 0

    @property
    def num_bytes(self) -> int:
        """Memory of the clip, float32."""
        return 4 * 3 * self.bucket.num_frames * math.prod(self.bucket.size)

    def read(self) -> Tensor:
        """The pixels, float32 [3, T, H, W].

        Raises:
            VideoError: the file can not be read, or is not the one that was expected.
        """
        check_unchanged(self.path, self.sha256)
        bucket, interval = self.bucket, self.frame_interval
        return read_clip(self.path, bucket.num_frames, bucket.size, interval, self.window)


class Added(NamedTuple):
    """A file that was entered, and what could not be encoded before it: key -> error."""

    rows: pd.DataFrame
    rejected: dict[str, VideoError]


class ClipEncoder:
    """Encodes clips into a catalogue.

    The autoencoder is loaded for the first clip that can be read, so that a shard whose missing
    clips are all unreadable loads none.

    Args:
        catalogue: where the files go.
        encoding: settings.
        load: the autoencoder.
        load_pictures: what embeds given frames; None = nothing does.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        encoding: VideoEncoding,
        load: Load,
        load_pictures: Callable[[], Any] | None = None,
    ) -> None:
        self._catalogue, self._encoding, self._load = catalogue, encoding, load
        self._load_pictures = load_pictures
        self._vae: Any = None
        self._pictures: Any = None
        self._device = "cpu"
        self._identity: dict[str, Any] = {}

    def encode(self, rows: pd.DataFrame) -> Iterator[tuple[str, Added]]:
        """Encode rows bucket after bucket, a file at a time.

        Args:
            rows: id, path, sha256, bucket, frame_interval, window and key, sorted by bucket.

        Yields:
            The bucket and what was added; of each bucket at least once.

        Raises:
            ConfigError: a bucket is smaller than one latent value.
        """
        requests = [
            ClipRequest(
                str(name), str(path), Bucket.parse(bucket), int(n), str(content), int(start)
            )
            for name, path, bucket, n, content, start in zip(
                *(rows[name] for name in (ID, PATH, "bucket", "frame_interval", "sha256", WINDOW)),
                strict=True,
            )
        ]
        self._buckets = list(dict.fromkeys(request.bucket for request in requests))
        # one reader for all files: it reads on while the last clips of a file are encoded
        with closing(read_clips(requests)) as read:
            clips = progress(read, description="encode_videos", total=len(requests))
            for name, part in rows.groupby("bucket", sort=False):
                yield from ((str(name), added) for added in self._encode_bucket(part, clips))

    def _encode_bucket(
        self, rows: pd.DataFrame, clips: Iterator[Tensor | VideoError]
    ) -> Iterator[Added]:
        bucket = Bucket.parse(rows["bucket"].iloc[0])
        batch_size = max(1, self._encoding.batch_size // bucket.num_frames)
        rejected: dict[str, VideoError] = {}
        pixels: list[Tensor] = []
        waiting: list[int] = []  # places of the clips in `pixels`
        latents: list[Encoded] = []
        places: list[int] = []  # of the clips in `latents`
        for place in range(len(rows)):
            clip = next(clips)
            if isinstance(clip, VideoError):
                rejected[rows[KEY].iloc[place]] = clip
            else:
                pixels.append(clip)
                waiting.append(place)
            if pixels and (len(pixels) == batch_size or place == len(rows) - 1):
                self._require_autoencoder()
                if not latents:  # a new file
                    self._vae.micro_batch_size = self._encoding.batch_size
                latents += self._encode_batch(pixels, rows.iloc[waiting], batch_size)
                places += waiting
                pixels, waiting = [], []
            length = self._file_length(latents[0]) if latents else 0
            while latents and (len(latents) >= length or place == len(rows) - 1):
                part = rows.iloc[places[:length]]
                yield Added(self._write(latents[:length], part), rejected)
                latents, places, rejected = latents[length:], places[length:], {}
        if rejected:
            yield Added(pd.DataFrame({KEY: []}), rejected)

    def _file_length(self, encoded: Encoded) -> int:
        return max(1, min(FILE_LATENTS, FILE_BYTES // sum(e.nbytes for e in encoded.values())))

    def _encode_batch(self, pixels: list[Tensor], rows: pd.DataFrame, size: int) -> list[Encoded]:
        """The latents [C, T, H, W] of some clips and what is beside, on the CPU as stored.

        A batch always has as many clips, the last one repeated where the bucket ends: kernels round
        differently at another batch size, not for other neighbours. So a clip's latent depends on
        the clip, the seed and `batch_size` alone, and a file made anew has the same bytes.
        """
        missing = size - len(pixels)
        # by its content and not by its name
        named = zip(rows["sha256"], rows[WINDOW], strict=True)
        names = [(content, int(start)) if start else (content,) for content, start in named]
        seeds = [derive_seed(self._encoding.seed, "posterior", *name) for name in names]
        batch = torch.stack(pixels + pixels[-1:] * missing)
        tensors = self._forward(batch, seeds + seeds[-1:] * missing)
        kept = {name: t.to("cpu", parse_dtype(self._encoding.dtype)) for name, t in tensors.items()}
        return [{name: t[place] for name, t in kept.items()} for place in range(len(pixels))]

    @torch.no_grad()
    def _forward(self, pixels: Tensor, seeds: list[int]) -> Encoded:
        """Encode [B, 3, T, H, W]; when memory is short, halve the frames per call for this file."""
        on_device = pixels.to(self._device, self._dtype)
        while True:
            # noise is drawn on the CPU: a GPU and a CPU give the same latents up to round-off
            generators = [torch.Generator().manual_seed(seed) for seed in seeds]
            try:
                latents: Tensor = self._vae.encode(
                    on_device, generator=generators, posterior=self._encoding.posterior
                )
                if self._encoding.given is None:
                    return {TENSOR: latents}
                given = encode_given(self._vae, self._pictures, on_device, self._encoding.given)
                return {TENSOR: latents, **given}
            except torch.OutOfMemoryError:
                if self._vae.micro_batch_size == 1:
                    raise
                self._vae.micro_batch_size = max(1, self._vae.micro_batch_size // 2)
                log.warning("out of memory: frames_per_forward=%d", self._vae.micro_batch_size)

    @property
    def _dtype(self) -> torch.dtype:
        return compute_dtype(self._device, self._encoding.dtype)

    def _require_autoencoder(self) -> None:
        """Load it once, and check with it what is to come."""
        if self._vae is not None:
            return
        self._vae, self._device = self._load()
        self._pictures = self._load_pictures() if self._load_pictures else None
        for bucket in self._buckets:
            height, width = bucket.size
            if not math.prod(self._vae.get_latent_size((bucket.num_frames, height, width))):
                raise ConfigError(
                    f"bucket {bucket} ({height}x{width} pixels) is smaller than one latent value of"
                    f" {tuple(self._vae.patch_size)} (frames, rows, columns); use a larger"
                    " resolution"
                )
        self._identity = self._encoding.identity(self._vae)
        self._catalogue.keep_identity(self._identity)

    def _write(self, encoded: list[Encoded], rows: pd.DataFrame) -> pd.DataFrame:
        """Write, measure and enter one file."""
        name = rows["bucket"].iloc[0]
        beside = {part: [clip[part] for clip in encoded] for part in encoded[0]}
        latents = beside.pop(TENSOR)
        path, entries = write_latents(self._catalogue, latents, rows, name, self._identity, beside)
        stored = (map_tensors(path) or {}).get(TENSOR, torch.stack(latents))
        are_moments = self._encoding.posterior == MOMENTS
        facts = latent_facts(stored, are_moments=are_moments)
        facts["bad_values"] += sum(int((~t.isfinite()).sum()) for ts in beside.values() for t in ts)
        picture = None
        if not facts["bad_values"]:
            facts["psnr"], picture = self._decode_some(stored, rows, path)
        log.info("encoded bucket=%s clips=%d", name, len(rows))
        return self._catalogue.add(path, entries, facts, picture)

    def _decode_some(
        self, stored: Tensor, rows: pd.DataFrame, path: Path
    ) -> tuple[list[float], Path | None]:
        """PSNR in dB of a few clips after decoding, and a picture of them."""
        pairs = []
        for place in few(len(rows)):
            row = rows.iloc[place]
            bucket, interval = Bucket.parse(row["bucket"]), int(row["frame_interval"])
            pair = round_trip(
                stored[place],
                ClipRequest(row[ID], row[PATH], bucket, interval, window=int(row[WINDOW])).read,
                self._vae,
                are_moments=self._encoding.posterior == MOMENTS,
                device=self._device,
                dtype=self._dtype,
            )
            pairs += [] if pair is None else [pair]
        if not pairs:
            return [], None
        picture = path.with_name(f"{path.stem}.{uuid.uuid4().hex[:8]}.aside")
        write_montage(picture, pairs)
        return [round(decibels(*pair), 2) for pair in pairs], picture


def compute_dtype(device: str, stored: str) -> torch.dtype:
    """Type of the autoencoder's weights: on a CPU it computes in fp32."""
    return torch.float32 if device == "cpu" else parse_dtype(stored)


def read_clips(requests: Iterable[ClipRequest]) -> Generator[Tensor | VideoError, None, None]:
    """Yield the pixels of each request in order, some clips ahead in threads.

    A clip that can not be read yields its error, which names it. Closing the iterator, or leaving
    it by an error, waits for the clips that are being decoded and drops the rest.
    """
    pending: deque[tuple[Future[Tensor | VideoError], int]] = deque()
    waiting = 0  # bytes of the pending clips
    with (
        Guard("encode_videos") as guard,
        ThreadPoolExecutor(_READERS, thread_name_prefix="read_clips") as pool,
    ):
        try:
            for request in requests:
                pending.append((pool.submit(guard.call, request.read), request.num_bytes))
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
