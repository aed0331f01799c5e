"""Buckets: which (resolution, number of frames, aspect ratio) a clip is trained at.

Source: Open-Sora 1.1 and 1.2 (`buckets/bucket.py`), with two differences: a clip of exactly
num_frames * frame_interval frames fits, and a draw depends on (seed, epoch, id) alone, so that
neither the order of the table nor other clips change where a clip goes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opensora.buckets.aspect import get_size
from opensora.buckets.assignment import DRAW_BITS, REASONS, BucketLookup
from opensora.buckets.bucket_config import IMAGE_FRAMES, BucketConfig, parse_bucket_config
from opensora.config.latent_grid import LatentGrid
from opensora.core.seed import draw, hash_ids
from opensora.tables.columns import ASSIGNMENT, ID

Size3 = tuple[int, int, int]
DEFAULT_VAE_STRIDE: Size3 = (1, 8, 8)  # of Stable Diffusion's autoencoders, frame by frame
DEFAULT_PATCH_SIZE: Size3 = (1, 2, 2)  # of STDiT-XL/2
PATCH_SIZES: dict[str, Size3] = {"2": (1, 2, 2), "2x2": (2, 2, 2)}  # what XL/2 and XL/2x2 say


@dataclass(frozen=True, order=True)
class Bucket:
    """One cell: all samples in it have the same (T, H, W)."""

    resolution: str
    num_frames: int
    aspect_ratio: str

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return get_size(self.resolution, self.aspect_ratio)

    @property
    def is_image(self) -> bool:
        """Whether its samples are images, or single frames of videos."""
        return self.num_frames == IMAGE_FRAMES

    def __str__(self) -> str:
        return f"{self.resolution}|{self.num_frames}|{self.aspect_ratio}"

    @classmethod
    def parse(cls, text: str) -> "Bucket":
        """Read what `str(bucket)` wrote."""
        resolution, num_frames, aspect_ratio = text.split("|")
        return cls(resolution, int(num_frames), aspect_ratio)


def assign_buckets(
    clips: pd.DataFrame,
    bucket_config: BucketConfig,
    *,
    seed: int,
    epoch: int = 0,
    frame_interval: int = 1,
    max_crop: float | None = None,
    hashes: np.ndarray | None = None,
) -> pd.DataFrame:
    """Give every clip its bucket for one epoch.

    Resolutions are tried from most to fewest pixels; a clip needs 0.8 of a resolution's pixels.
    An image takes the one-frame bucket, a video the longest one it fills (never one frame). If
    the draw of that bucket fails, the next smaller resolution is tried, not a shorter length.
    An exact size such as "256x384" takes clips of every size, with one frame also videos.

    Args:
        clips: id (unique), num_frames, height, width.
        bucket_config: see `parse_bucket_config`.
        seed: with `epoch` and the id the only source of chance.
        epoch: epoch index.
        frame_interval: source frames per used frame.
        max_crop: share of its pixels that a clip may lose in the bucket it is given; one that would
            lose more has none. None is any.
        hashes: `hash_ids(clips["id"])`, where several epochs share it.

    Returns:
        An ASSIGNMENT table, one row per clip in the same order; `reason` is "" where placed.
        Its columns of text are categories, of which a table of millions of clips has few.
    """
    table = BucketLookup(parse_bucket_config(bucket_config), frame_interval, max_crop=max_crop)
    draws = None
    if table.is_random:
        hashes = hash_ids(clips[ID]) if hashes is None else hashes
        draws = draw(hashes, seed, "bucket", epoch, bits=DRAW_BITS)
    frames, height, width = (clips[name].to_numpy() for name in ("num_frames", "height", "width"))
    found = table.choose(frames, height, width, draws)
    columns = (
        clips[ID].reset_index(drop=True),
        _category(found.resolution, table.resolutions),
        found.num_frames,
        _category(found.aspect_ratio, table.ratios),
        found.height,
        found.width,
        _category(found.reason, REASONS),
    )
    return pd.DataFrame(dict(zip(ASSIGNMENT.columns, columns, strict=True)), copy=False)


def _category(codes: NDArray[np.int16], names: Sequence[str]) -> "pd.Categorical[str]":
    return pd.Categorical.from_codes(codes, pd.Index(names, dtype=str))


@dataclass(frozen=True)
class TokenGrid:
    """What one latent value and one token cover.

    Attributes:
        vae_stride: frames, rows and columns of pixels of one latent value.
        patch_size: frames, rows and columns of latent values of one token.
        chunk: frames after which latent frames begin anew; None never.
    """

    vae_stride: Size3 = DEFAULT_VAE_STRIDE
    patch_size: Size3 = DEFAULT_PATCH_SIZE
    chunk: int | None = None

    @property
    def token_size(self) -> Size3:
        """Frames, rows and columns of pixels of one token."""
        t, h, w = (s * p for s, p in zip(self.vae_stride, self.patch_size, strict=True))
        return t, h, w

    def latent_size(self, bucket: Bucket) -> Size3:
        """Latent (T, H, W) of a bucket: a started group of frames counts, started rows do not."""
        _, stride_h, stride_w = self.vae_stride
        height, width = bucket.size
        t = LatentGrid(self.vae_stride, chunk=self.chunk).latent_frames(bucket.num_frames)
        return t, max(height // stride_h, 1), max(width // stride_w, 1)

    def token_grid(self, bucket: Bucket) -> Size3:
        """Tokens (T, rows, columns) of a bucket: the model fills the last patches up."""
        latent = self.latent_size(bucket)
        t, h, w = (-(-n // p) for n, p in zip(latent, self.patch_size, strict=True))
        return t, h, w

    def tokens(self, bucket: Bucket) -> int:
        """Tokens of one sample."""
        return math.prod(self.token_grid(bucket))
