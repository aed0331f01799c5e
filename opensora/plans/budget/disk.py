"""Disk of latents and embeddings, beside what the reference's precomputed features take."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from opensora.buckets.assignment import BucketLookup
from opensora.buckets.bucket import Bucket, Size3, TokenGrid
from opensora.buckets.bucket_config import parse_bucket_config
from opensora.buckets.crop import check_max_crop
from opensora.buckets.windows import expected_windows
from opensora.core.errors import ConfigError
from opensora.plans.budget.cost import Cost
from opensora.plans.stage_plan import bucket_config_of, frame_interval_of

# English captions have about 1.3 pieces of T5's vocabulary per word, and one end token
TOKENS_PER_WORD = 1.3
DTYPE_BYTES = {"bf16": 2, "fp32": 4}

# what the reference reports for precomputed features: a latent of 64 x 64 x 64 values in 4
# channels of fp32 (4 MB), and a caption padded to 120 tokens of 4096 half-precision values (1 MB)
REFERENCE_LATENT = (64, 64, 64)
REFERENCE_CHANNELS = 4
REFERENCE_TEXT = (120, 4096)
_REFERENCE_LATENT_BYTES, _REFERENCE_TEXT_BYTES = 4, 2
REFERENCE_BYTES = (
    REFERENCE_CHANNELS * math.prod(REFERENCE_LATENT) * _REFERENCE_LATENT_BYTES
    + math.prod(REFERENCE_TEXT) * _REFERENCE_TEXT_BYTES
)


@dataclass(frozen=True, kw_only=True)
class Storage:
    """How latents and embeddings are stored.

    Attributes:
        dtype: "bf16" or "fp32", of both.
        moments: mean and deviation of each latent value instead of one draw.
        int8: embeddings as int8 rows with one fp32 scale per token.
        text_tokens: mean tokens of a caption; None estimates them from the words.
        windows: latents of a clip at a bucket, where it is long enough.
    """

    dtype: str = "bf16"
    moments: bool = False
    int8: bool = False
    text_tokens: float | None = None
    windows: int = 1

    def __post_init__(self) -> None:
        """Check the number of windows.

        Raises:
            ConfigError: it can not be meant.
        """
        if self.windows < 1:
            raise ConfigError(f"--windows {self.windows}: expected at least 1")

    def latent_bytes(self, channels: int, size: Size3, beside: int = 0) -> int:
        """Bytes of one latent [channels, T, H, W] and of `beside` values of given frames."""
        values = channels * math.prod(size) * (2 if self.moments else 1) + beside
        return values * DTYPE_BYTES[self.dtype]

    def token_bytes(self, width: int) -> int:
        """Bytes of the embedding of one token."""
        return width + 4 if self.int8 else width * DTYPE_BYTES[self.dtype]


def disk_use(
    clips: pd.DataFrame,
    texts: pd.Series,
    config: Mapping[str, Any],
    cost: Cost,
    grid: TokenGrid,
    storage: Storage,
) -> dict[str, float]:
    """Count the bytes of both stores for all epochs, and per sample beside the reference.

    Args:
        clips: id, num_frames, height, width of the clips to train on.
        texts: their captions.
        config: of training.
        cost: widths of the model.
        grid: size of latents.
        storage: how both are stored.

    Returns:
        `latents` (windows of clips at buckets, expected), `latent_bytes` (given frames that the
        model reads beside them included), `captions` (different ones), `caption_tokens` (mean),
        `embedding_bytes`; per sample `clips_bytes`, the reference's for the same content in
        `clips_reference_bytes`, and their quotient `clips_share`; the same three as `example_...`
        for the reference's own example, with `example_tokens` of text.
    """
    latents = _expected_latents(clips, config, storage.windows)
    count = sum(latents.values())
    latent_bytes, values = 0.0, 0.0
    for bucket, clips_of in latents.items():
        size = grid.latent_size(bucket)
        beside = cost.given_values(size)
        latent_bytes += clips_of * storage.latent_bytes(cost.in_channels, size, beside)
        values += clips_of * (cost.in_channels * math.prod(size) + beside)
    has_text = cost.caption_channels > 0
    tokens = caption_tokens(texts, cost.text_tokens, storage.text_tokens)
    embeddings = tokens["total"] * storage.token_bytes(cost.caption_channels) if has_text else 0.0
    padded = cost.text_tokens * cost.caption_channels * _REFERENCE_TEXT_BYTES
    ours = latent_bytes / max(count, 1) + embeddings / max(len(texts), 1)
    theirs = values * _REFERENCE_LATENT_BYTES / max(count, 1) + padded
    words = caption_tokens(texts, REFERENCE_TEXT[0], storage.text_tokens)["mean"]
    example = storage.latent_bytes(REFERENCE_CHANNELS, REFERENCE_LATENT)
    example_bytes = example + words * storage.token_bytes(REFERENCE_TEXT[1])
    return {
        "latents": count,
        "latent_bytes": latent_bytes,
        "captions": tokens["captions"],
        "caption_tokens": tokens["mean"] if has_text else 0.0,
        "embedding_bytes": embeddings,
        "clips_bytes": ours,
        "clips_reference_bytes": theirs,
        "clips_share": ours / theirs if theirs else 0.0,
        "example_tokens": words,
        "example_bytes": example_bytes,
        "example_reference_bytes": REFERENCE_BYTES,
        "example_share": example_bytes / REFERENCE_BYTES,
    }


def _expected_latents(
    clips: pd.DataFrame, config: Mapping[str, Any], windows: int
) -> dict[Bucket, float]:
    """Latents of each bucket after all epochs: a clip is encoded once per bucket and window."""
    most, interval = check_max_crop(config.get("max_crop")), frame_interval_of(config)
    rules = parse_bucket_config(bucket_config_of(config))
    table = BucketLookup(rules, interval, max_crop=most)
    return expected_windows(table, clips, int(config.get("epochs", 1)), interval, windows)


def caption_tokens(texts: pd.Series, longest: int, given: float | None) -> dict[str, float]:
    """Estimate the tokens of captions, which are stored without padding and equal ones once.

    Args:
        texts: one caption per clip.
        longest: tokens at which a caption is cut off.
        given: mean tokens of a caption, where it is known.

    Returns:
        `captions` that differ, their tokens in `total`, and the `mean` over all clips.
    """
    if given is not None:
        different = texts.nunique()
        return {"captions": different, "total": different * given, "mean": given}
    words = texts.str.count(r"\S+")
    tokens = (words * TOKENS_PER_WORD + 1).round().clip(upper=longest)
    once = tokens[~texts.duplicated()]
    mean = float(tokens.mean()) if len(tokens) else 0.0
    return {"captions": len(once), "total": float(once.sum()), "mean": mean}
