"""Train a small image autoencoder on the frames of clips.

The result is diffusers' AutoencoderKL with latents of zero mean and unit variance per channel.

Axes: N frames, H W pixels, C latent channels, h w latent size.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from opensora.config.latent_grid import TRAINED_WIDTHS
from opensora.core.errors import TableError
from opensora.core.io import write_json
from opensora.core.process import threads_in_use
from opensora.core.seed import derive_seed
from opensora.curation.manifest.groups import TRAIN, VALIDATION, assign_splits
from opensora.encoders.data import draw_rows, fill, read_ok_rows, read_spread, trained_on
from opensora.encoders.trainer import (
    LoopConfig,
    build_muon,
    fit,
    model_folder,
    refuse_foreign,
    require,
)
from opensora.media.frames import psnr
from opensora.models.weights.folders import as_trained
from opensora.tables.columns import CLIPS

log = logging.getLogger(__name__)

Frames = dict[tuple[int, int], Tensor]  # (height, width) -> uint8 [N, 3, H, W]
_STATISTICS_FRAMES = 4096  # for the statistics of the latents
_EVALUATION_BATCH = 128
_EQUAL_DB = 100.0  # what an exact copy counts as, so that means and JSON hold


@dataclass(frozen=True, kw_only=True)
class VaeConfig(LoopConfig):
    """Fields of the config file."""

    sizes: list[tuple[int, int]]
    """(height, width) in pixels; a clip is trained at those of the nearest aspect ratio."""
    block_out_channels: tuple[int, ...] = TRAINED_WIDTHS
    """Width of each level; each but the first halves the size."""
    latent_channels: int = 4
    """C."""
    frames_per_clip: int = 8
    """Frames read of each clip, evenly spaced."""
    max_clips: int = 4000
    """Clips that are read; of a larger table that many are drawn."""
    l1_weight: float = 1.0
    """Of the mean absolute error; pixels in [-1, 1]."""
    mse_weight: float = 2.0
    """Of the mean squared error."""
    kl_weight: float = 3e-3
    """Of the divergence of the posterior from the unit Gaussian, mean over latent values."""
    num_steps: int = 900
    batch_size: int = 16
    lr: float = 0.02
    adamw_lr: float = 2e-3

    def __post_init__(self) -> None:
        """Check single values.

        Raises:
            ConfigError: a value that can not be meant.
        """
        super().__post_init__()
        require(len(self.block_out_channels) >= 1, "block_out_channels", (), "at least one level")
        require(len(self.sizes) >= 1, "sizes", self.sizes, "at least one (height, width)")
        object.__setattr__(self, "sizes", [(int(h), int(w)) for h, w in self.sizes])
        for size in self.sizes:
            fits = all(side > 0 and side % self.stride == 0 for side in size)
            require(fits, "sizes", size, f"multiples of {self.stride}, the stride of the VAE")
        for name in ("frames_per_clip", "max_clips", "latent_channels"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")

    @property
    def stride(self) -> int:
        """Pixels per latent value, along each side."""
        return 2 ** (len(self.block_out_channels) - 1)


def train_vae(
    config: VaeConfig,
    clips: Sequence[str | Path],
    output: str | Path,
    *,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.0,
) -> str:
    """Train on the clips of the train split and measure on those of the validation split.

    It needs no scores and no captions, so it runs beside whatever makes them. The split is the
    manifest's: a source video draws its side from its id alone. Only where near-duplicates link
    videos the manifest may hold out more of them.

    Args:
        config: see its fields.
        clips: tables of clips.
        validation_fraction: share of source videos, as given to build-manifest.
        test_fraction: likewise; these clips are not looked at.
        output: folder in the diffusers format, with metrics.jsonl and psnr.json.

    Returns:
        The summary line.

    Raises:
        TableError: no clip to train on.
        ConfigError: `output` holds something else.
    """
    refuse_foreign(output)
    rows = read_ok_rows(clips, CLIPS)
    sides = assign_splits(
        rows["video_id"],
        np.arange(len(rows)),  # no clip is known to resemble another one yet
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
    )
    learned = draw_rows(rows[sides == TRAIN], config.max_clips, config.seed)
    train = load_frames(learned, config)
    if not train:
        raise TableError(
            f"{clips[0]}: no readable clip of split 'train'; look at the clips' column detail"
        )
    held_out = draw_rows(rows[sides == VALIDATION], config.max_clips, config.seed)
    validation, split = load_frames(held_out, config), VALIDATION
    if not validation:
        log.warning("no readable clip of split 'validation': PSNR is measured on training clips")
        validation, split = train, TRAIN
    torch.manual_seed(derive_seed(config.seed, "vae"))
    vae = build_vae(config)
    metrics = _train(vae, train, config)
    whiten(vae, train)
    report = {"split": split, **measure_psnr(vae, validation), "threads": threads_in_use()}
    report |= trained_on("clips", learned["sha256"])
    with model_folder(output, metrics) as folder:
        vae.save_pretrained(folder)
        write_json(folder / "psnr.json", report | as_trained(folder))
    return (
        f"PSNR {report['mean']:.1f} dB (lowest frame {report['min']:.1f}) on {split} clips after"
        f" {config.num_steps} steps; VAE in {output}"
    )


def load_frames(rows: pd.DataFrame, config: VaeConfig) -> Frames:
    """Decode frames of clips at the sizes of the nearest aspect ratio."""
    found: dict[tuple[int, int], list[Tensor]] = {}
    for _, row in rows.iterrows():
        pictures = read_spread(row, config.frames_per_clip)
        if pictures is None:
            continue
        height, width = pictures[0].shown
        for size in nearest_sizes(height / width, config.sizes):
            found.setdefault(size, []).append(fill(pictures, size))
    return {size: torch.cat(found[size]) for size in config.sizes if size in found}


def nearest_sizes(aspect_ratio: float, sizes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """All sizes of the aspect ratio (height / width) that is nearest, as a factor."""
    distance = {size: abs(math.log(size[0] / size[1] / aspect_ratio)) for size in sizes}
    least = min(distance.values())
    return [size for size in sizes if distance[size] < least + 1e-6]


def build_vae(config: VaeConfig) -> AutoencoderKL:
    """Build the network with random weights.

    One group per normalisation: on a CPU that is several times as fast as more, and it learns
    faster, too.
    """
    levels = len(config.block_out_channels)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(config.block_out_channels),
        layers_per_block=1,
        latent_channels=config.latent_channels,
        norm_num_groups=1,
        mid_block_add_attention=False,
        sample_size=max(max(size) for size in config.sizes),
        scaling_factor=1.0,
    )
    for convolution in (vae.quant_conv, vae.post_quant_conv):  # a random 4x4 matrix loses much
        weight, bias = _weight_and_bias(convolution)
        nn.init.dirac_(weight)
        nn.init.zeros_(bias)
    return vae


def _train(vae: AutoencoderKL, train: Frames, config: VaeConfig) -> list[dict[str, Any]]:
    draw = torch.Generator().manual_seed(derive_seed(config.seed, "vae", "batches"))
    noise = torch.Generator().manual_seed(derive_seed(config.seed, "vae", "posterior"))
    pools = list(train.values())
    shares = torch.tensor([float(len(pool)) for pool in pools])

    def losses() -> dict[str, Tensor]:
        pool = pools[int(torch.multinomial(shares, 1, generator=draw))]
        images = _to_float(pool[torch.randint(len(pool), (config.batch_size,), generator=draw)])
        posterior = vae.encode(images).latent_dist
        error = vae.decode(posterior.sample(generator=noise)).sample - images  # [N, 3, H, W]
        l1, mse = error.abs().mean(), error.square().mean()
        kl = (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean() / 2
        loss = config.l1_weight * l1 + config.mse_weight * mse + config.kl_weight * kl
        return {"loss": loss, "l1": l1, "mse": mse, "kl": kl}

    # not the layers that touch pixels or latents
    hidden = [
        weight
        for name, weight in vae.named_parameters()
        if weight.ndim == 4 and not name.endswith(("conv_in.weight", "conv_out.weight"))
        if not name.startswith(("quant_conv", "post_quant_conv"))
    ]
    vae.train()
    metrics = fit(
        losses,
        build_muon(vae, hidden, lr=config.lr, adamw_lr=config.adamw_lr),
        num_steps=config.num_steps,
        warmup_steps=config.warmup_steps,
        log_every=config.log_every,
        description="train_vae",
    )
    vae.eval()
    return metrics


@torch.no_grad()
def whiten(vae: AutoencoderKL, frames: Frames) -> None:
    """Give each latent channel zero mean and unit variance over these frames.

    The 1x1 convolutions behind the encoder and before the decoder take the change up, so
    reconstructions stay the same and scaling_factor, which is 1 / std, is 1.
    """
    parts = []
    for pool in frames.values():
        every = max(1, sum(map(len, frames.values())) // _STATISTICS_FRAMES)
        for images in pool[::every].split(_EVALUATION_BATCH):
            z = vae.encode(_to_float(images)).latent_dist.mean  # [N, C, h, w]
            parts.append(z.transpose(0, 1).flatten(1))
    std, mean = torch.std_mean(torch.cat(parts, dim=1).double(), dim=1)  # [C], [C]
    std, mean = std.clamp(min=1e-6).float(), mean.float()
    # rows 0..C-1 behind the encoder are the mean, rows C..2C-1 the logarithm of the variance
    weight, bias, channels = *_weight_and_bias(vae.quant_conv), len(std)
    weight[:channels] /= std[:, None, None, None]
    bias[:channels] = (bias[:channels] - mean) / std
    bias[channels:] -= 2 * std.log()
    weight, bias = _weight_and_bias(vae.post_quant_conv)
    bias += weight[:, :, 0, 0] @ mean
    weight *= std[None, :, None, None]


def _weight_and_bias(convolution: nn.Conv2d | None) -> tuple[Tensor, Tensor]:
    assert convolution is not None  # build_vae makes both
    assert convolution.bias is not None
    return convolution.weight, convolution.bias


@torch.no_grad()
def measure_psnr(vae: AutoencoderKL, frames: Frames) -> dict[str, Any]:
    """Peak signal-to-noise ratio of reconstructions, per frame, in dB.

    Returns:
        `mean` and `min` over all frames, and `sizes`: the same and the number of frames for each
        size.
    """
    sizes, everything = {}, []
    for (height, width), pool in frames.items():
        values = torch.cat([_decibels(vae, images) for images in pool.split(_EVALUATION_BATCH)])
        everything.append(values)
        sizes[f"{height}x{width}"] = {"num_frames": len(values), **_mean_and_min(values)}
    return {**_mean_and_min(torch.cat(everything)), "sizes": sizes}


def _decibels(vae: AutoencoderKL, images: Tensor) -> Tensor:
    wanted = _to_float(images)
    decoded = vae.decode(vae.encode(wanted).latent_dist.mean).sample.clamp(-1, 1)
    return psnr(wanted, decoded, peak=2.0).clamp(max=_EQUAL_DB)  # [N]


def _mean_and_min(values: Tensor) -> dict[str, float]:
    return {"mean": round(float(values.mean()), 3), "min": round(float(values.min()), 3)}


def _to_float(images: Tensor) -> Tensor:
    """Map uint8 0..255 to float32 [-1, 1]."""
    return images.float() / 127.5 - 1
