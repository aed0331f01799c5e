"""The gate after encoding: latents that would train nothing but noise stop the run here.

Writes `doctor.json`: per bucket the number of bad values, mean and deviation per channel, and
how well a few clips survive encoding and decoding (PSNR).
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from opensora.core.errors import StoreError
from opensora.core.io import write_json
from opensora.datasets.bucket import Bucket
from opensora.datasets.latent_store import LatentStore
from opensora.encoding.clips import read_clip

DOCTOR_NAME = "doctor.json"
_CLIPS_PER_BUCKET = 4
_LEAST_DEVIATION = 1e-3  # latents this flat carry no picture
_PEAK = 2.0  # pixels span [-1, 1]


class Decoder(Protocol):
    """What the gate needs of an autoencoder."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, t, h, w] -> pixels [B, 3, T, H, W]."""


def examine(
    store: LatentStore,
    paths: Mapping[str, str],
    decoder: Decoder,
    *,
    min_psnr: float,
    frame_interval: int,
    device: str,
    dtype: torch.dtype,
) -> dict[str, Any]:
    """Measure the latents of one shard.

    Args:
        store: the shard's latents.
        paths: clip id -> file, to compare decoded latents with.
        decoder: the autoencoder.
        min_psnr: least mean PSNR of a bucket in dB.
        frame_interval: as the clips were read.
        device: where the decoder is.
        dtype: type of the decoder's weights.

    Returns:
        `buckets` (per bucket items, bad_values, mean, std, psnr), `failures` (sentences).
    """
    buckets: dict[str, dict[str, Any]] = {}
    failures: list[str] = []
    for name, rows in store.rows.groupby("bucket", sort=True):
        bucket = Bucket.parse(str(name))
        facts = _statistics(store, rows, bucket)
        if facts["bad_values"]:
            failures.append(f"bucket {name} holds {facts['bad_values']} NaN or infinite values")
        elif facts["overall_std"] < _LEAST_DEVIATION:
            failures.append(f"bucket {name} is flat (deviation {facts['overall_std']:.2g})")
        else:
            picks = np.unique(np.linspace(0, len(rows) - 1, _CLIPS_PER_BUCKET).astype(int))
            facts["psnr"] = [
                round(_psnr(store, item, bucket, paths, decoder, frame_interval, device, dtype), 2)
                for item in rows["id"].iloc[picks]
            ]
            mean = float(np.mean(facts["psnr"]))
            if not mean >= min_psnr:
                failures.append(f"bucket {name} decodes at {mean:.1f} dB, below {min_psnr:g} dB")
        buckets[str(name)] = facts
    return {"buckets": buckets, "failures": failures, "min_psnr": min_psnr}


def require_health(report: Mapping[str, Any], folder: Path) -> None:
    """Write `doctor.json` and stop if anything failed.

    Raises:
        StoreError: one sentence with the first failure.
    """
    write_json(folder / DOCTOR_NAME, report)
    if report["failures"]:
        raise StoreError(
            f"{folder / DOCTOR_NAME}: {report['failures'][0]}; check the VAE (its weights, scaling"
            " factor and training), then encode again"
        )


def _statistics(store: LatentStore, rows: pd.DataFrame, bucket: Bucket) -> dict[str, Any]:
    """Mean and deviation per channel in one pass over the stored rows."""
    count, bad = 0, 0
    total = square = torch.zeros(1, dtype=torch.float64)
    for item in rows["id"]:
        values = store.get(item, bucket).double().flatten(1)  # [C, T*H*W]
        bad += int((~values.isfinite()).sum())
        count += values.shape[1]
        total = total + values.sum(1)
        square = square + values.square().sum(1)
    mean = total / count
    variance = (square / count - mean.square()).clamp(min=0)  # [C]
    overall = (square.mean() / count - mean.mean().square()).clamp(min=0).sqrt()
    return {
        "items": len(rows),
        "bad_values": bad,
        "mean": [_number(value) for value in mean.tolist()],
        "std": [_number(value) for value in variance.sqrt().tolist()],
        "overall_std": _number(float(overall)) or 0.0,
    }


def _number(value: float) -> float | None:
    """Round for JSON, which has no NaN."""
    return round(value, 6) if math.isfinite(value) else None


@torch.no_grad()
def _psnr(
    store: LatentStore,
    item: str,
    bucket: Bucket,
    paths: Mapping[str, str],
    decoder: Decoder,
    frame_interval: int,
    device: str,
    dtype: torch.dtype,
) -> float:
    latents = store.get(item, bucket)[None].to(device, dtype)
    decoded = decoder.decode(latents)[0].float().cpu().clamp(-1, 1)  # [3, T, H, W]
    pixels = read_clip(paths[item], bucket, frame_interval)
    # sides that are no multiple of the autoencoder's stride lose their remainder
    pixels = pixels[..., : decoded.shape[-2], : decoded.shape[-1]]
    error = float((decoded - pixels).square().mean())
    return 10 * math.log10(_PEAK**2 / max(error, 1e-12))
