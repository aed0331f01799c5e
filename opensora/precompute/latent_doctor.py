"""The gate after encoding: latents that would train nothing but noise stop the run here.

Writes `doctor.json`: per bucket the number of bad values, mean and deviation per channel, and
how well a few clips survive encoding and decoding (PSNR), with a picture of them.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from opensora.buckets.bucket import Bucket
from opensora.core.errors import StoreError
from opensora.core.io import atomic_path, write_json
from opensora.core.process import threads_in_use
from opensora.media.frames import psnr, read_clip, to_uint8
from opensora.stores.latents import MOMENTS, LatentStore

log = logging.getLogger(__name__)

DOCTOR_NAME = "doctor.json"
_CLIPS_PER_BUCKET = 4
_LEAST_DEVIATION = 1e-3  # latents this flat carry no picture
# Scaled latents have mean 0 and deviation 1, roughly; those of Stable Diffusion's autoencoder
# without its scaling factor have a deviation above 5.
_LARGEST_MEAN, _LARGEST_DEVIATION = 5.0, 5.0
_PEAK = 2.0  # pixels span [-1, 1]
_EQUAL_DB = 120.0  # above what any float32 decoder reaches
_FRAMES = 3  # of each clip: the first, the middle and the last one
_LONG_SIDE = 160  # pixels of a frame in the picture; smaller frames stay as they are
_GAP = 4  # white pixels between frames


class Decoder(Protocol):
    """What the gate needs of an autoencoder."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, t, h, w] -> pixels [B, 3, T, H, W]."""


class LatentDoctor:
    """Examines the buckets of one store folder and keeps the report.

    Attributes:
        report: `buckets` (per bucket items, bad_values, mean, std, overall_std, psnr, montage),
            `failures` and `warnings` (sentences), `min_psnr`.

    Args:
        folder: where `doctor.json` and the pictures go.
        paths: clip id -> file, to compare decoded latents with.
        decoder: the autoencoder.
        min_psnr: least mean PSNR of a bucket in dB.
        device: where the decoder is.
        dtype: type of the decoder's weights.
    """

    def __init__(
        self,
        folder: Path,
        paths: Mapping[str, str],
        decoder: Decoder,
        *,
        min_psnr: float,
        device: str,
        dtype: torch.dtype,
    ) -> None:
        self._folder = folder
        self._paths = paths
        self._decoder = decoder
        self._device = device
        self._dtype = dtype
        self.report: dict[str, Any] = {
            "buckets": {},
            "failures": [],
            "warnings": [],
            "min_psnr": min_psnr,
            "threads": threads_in_use(),
        }

    @property
    def montages(self) -> list[str]:
        """Names of the pictures written so far."""
        return [facts["montage"] for facts in self.report["buckets"].values() if "montage" in facts]

    def examine(self, store: LatentStore, frame_interval: int) -> None:
        """Measure every bucket of a store, each row with its checksum.

        Args:
            store: latents; a bucket that was examined before is examined anew.
            frame_interval: as the clips were read.

        Raises:
            StoreError: a file is damaged.
        """
        for name, rows in store.rows.groupby("bucket", sort=True):
            bucket = Bucket.parse(str(name))
            facts = latent_statistics(store, rows)
            failure, warning = judge_latents(facts)
            if failure is None:
                picks = np.unique(np.linspace(0, len(rows) - 1, _CLIPS_PER_BUCKET).astype(int))
                pairs = [
                    self._round_trip(store, item, bucket, frame_interval)
                    for item in rows["id"].iloc[picks]
                ]
                facts["psnr"] = [round(_decibels(*pair), 2) for pair in pairs]
                facts["montage"] = f"doctor_{name}.png".replace("|", "_")
                write_montage(self._folder / facts["montage"], pairs)
                mean, least = float(np.mean(facts["psnr"])), self.report["min_psnr"]
                if not mean >= least:
                    failure = f"decodes at {mean:.1f} dB, below {least:g} dB"
            self.report["buckets"][str(name)] = facts
            if failure is not None:
                self.report["failures"].append(f"bucket {name} {failure}")
            if warning is not None:
                self.report["warnings"].append(f"bucket {name} {warning}")
                log.warning("doctor bucket=%s %s", name, warning)

    def write(self) -> None:
        """Write `doctor.json`."""
        write_json(self._folder / DOCTOR_NAME, self.report)

    def require_health(self) -> None:
        """Stop if anything failed.

        Raises:
            StoreError: one sentence with the first failure.
        """
        if self.report["failures"]:
            raise StoreError(
                f"{self._folder / DOCTOR_NAME}: {self.report['failures'][0]}; check the VAE (its"
                " weights, scaling factor and training), then encode again"
            )

    @torch.no_grad()
    def _round_trip(
        self, store: LatentStore, item: str, bucket: Bucket, frame_interval: int
    ) -> tuple[Tensor, Tensor]:
        """Pixels of a clip and what its latents decode to, both [3, T, H, W] in [-1, 1]."""
        latents = store.get(item, bucket)[None]
        if store.identity.get("posterior") == MOMENTS:
            latents = latents.chunk(2, dim=1)[0]  # the means
        decoded = self._decoder.decode(latents.to(self._device, self._dtype))[0].float().cpu()
        pixels = read_clip(self._paths[item], bucket.num_frames, bucket.size, frame_interval)
        # lengths that are no multiple of the autoencoder's stride lose their remainder
        T, H, W = (min(sizes) for sizes in zip(decoded.shape[1:], pixels.shape[1:], strict=True))
        return pixels[:, :T, :H, :W], decoded[:, :T, :H, :W].clamp(-1, 1)


def judge_latents(facts: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Compare the numbers of a bucket with their limits: failure and warning, each or none."""
    if facts["bad_values"]:
        return f"holds {facts['bad_values']} NaN or infinite values", None
    if facts["overall_std"] < _LEAST_DEVIATION:
        return f"is flat (deviation {facts['overall_std']:.2g})", None
    for what, limit in (("mean", _LARGEST_MEAN), ("std", _LARGEST_DEVIATION)):
        value = max(facts[what], key=abs)
        if abs(value) > limit:
            channel = facts[what].index(value)
            return f"has {what} {value:.3g} in channel {channel}, beyond {limit:g}", None
    flat = [k for k, value in enumerate(facts["std"]) if value < _LEAST_DEVIATION]
    if flat:
        return None, f"is flat in channel {flat[0]} ({len(flat)} of {len(facts['std'])} channels)"
    return None, None


def latent_statistics(store: LatentStore, rows: pd.DataFrame) -> dict[str, Any]:
    """Mean and deviation per channel in one pass over stored rows of one bucket.

    Of moments these are the means; `posterior_std` is the mean deviation of the posterior per
    channel, and a negative deviation is a bad value.

    Raises:
        StoreError: a file is damaged.
    """
    are_moments = store.identity.get("posterior") == MOMENTS
    count, bad = 0, 0
    total = square = spread = torch.zeros(1, dtype=torch.float64)
    for position in rows.index:
        values = store.at(position).double().flatten(1)  # [C, T*H*W]
        bad += int((~values.isfinite()).sum())
        if are_moments:
            values, deviations = values.chunk(2)
            bad += int((deviations < 0).sum())
            spread = spread + deviations.sum(1)
        count += values.shape[1]
        total = total + values.sum(1)
        square = square + values.square().sum(1)
    mean = total / count
    variance = (square / count - mean.square()).clamp(min=0)  # [C]
    overall = (square.mean() / count - mean.mean().square()).clamp(min=0).sqrt()
    facts = {
        "items": len(rows),
        "bad_values": bad,
        "mean": [_number(value) for value in mean.tolist()],
        "std": [_number(value) for value in variance.sqrt().tolist()],
        "overall_std": _number(float(overall)) or 0.0,
    }
    if are_moments:
        facts["posterior_std"] = [_number(value) for value in (spread / count).tolist()]
    return facts


def _number(value: float) -> float | None:
    """Round for JSON, which has no NaN."""
    return round(value, 6) if math.isfinite(value) else None


def _decibels(original: Tensor, decoded: Tensor) -> float:
    """PSNR of two clips in [-1, 1]; equal ones get a number that JSON can hold."""
    return min(float(psnr(original[None], decoded[None], peak=_PEAK)), _EQUAL_DB)


def write_montage(path: Path, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Write a PNG with two rows: frames of all clips, and below each what was decoded.

    Args:
        path: the file.
        pairs: original and decoded clip, both [3, T, H, W] in [-1, 1], all of one size.
    """
    columns = [
        np.concatenate([_frame(original, place), _frame(decoded, place)])
        for original, decoded in pairs
        for place in np.unique(np.linspace(0, original.shape[1] - 1, _FRAMES).round().astype(int))
    ]
    with atomic_path(path) as temporary:
        Image.fromarray(np.concatenate(columns, axis=1)).save(temporary, format="PNG")


def _frame(clip: Tensor, place: int) -> np.ndarray:
    """One frame as uint8 [h, w, 3], with a white margin below and to the right."""
    image = Image.fromarray(to_uint8(clip[:, place : place + 1])[0])
    scale = min(1.0, _LONG_SIDE / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    frame = np.asarray(image.resize(size, Image.Resampling.BOX) if scale < 1 else image)
    return np.pad(frame, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)
