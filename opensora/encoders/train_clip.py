"""Train a small CLIP on clips and their captions.

An image is a storyboard of four frames, so that motion shows; a still repeats its one frame.

Axes: N clips, H W pixels, D channels, L tokens.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from opensora.core.errors import TableError
from opensora.core.io import write_json
from opensora.core.process import threads_in_use
from opensora.core.seed import derive_seed, stable_shard
from opensora.encoders.data import (
    draw_rows,
    one_word_variants,
    read_captioned_clips,
    read_spread,
    trained_on,
)
from opensora.encoders.trainer import (
    LoopConfig,
    build_muon,
    fit,
    model_folder,
    refuse_foreign,
    require,
)
from opensora.models.clip_model import STORYBOARD_FRAMES, ClipModel, save_clip, storyboard
from opensora.models.weights.folders import as_trained
from opensora.tables.columns import TEXT

log = logging.getLogger(__name__)

_MAX_LOGIT_SCALE = float(np.log(100.0))  # as in the paper
_HOLD_OUT_ONE_IN = 10  # source videos that are kept for the measurement
_GRID = 2  # frames along each side of a storyboard
_EVALUATION_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class ClipConfig(LoopConfig):
    """Fields of the config file."""

    model: dict[str, Any]
    """open_clip's `model_cfg`: embed_dim, vision_cfg, text_cfg."""
    preprocess: dict[str, Any] = field(default_factory=dict)
    """open_clip's `preprocess_cfg`: mean, std, interpolation, resize_mode."""
    max_clips: int = 4000
    """Clips that are read; of larger tables that many are drawn."""
    shift_px: int = 3
    """The frames of a storyboard are moved together by up to so many pixels, at random."""
    num_steps: int = 800
    batch_size: int = 32
    lr: float = 0.01
    adamw_lr: float = 1e-3

    def __post_init__(self) -> None:
        """Check single values.

        Raises:
            ConfigError: a value that can not be meant.
        """
        super().__post_init__()
        require(self.max_clips >= 2, "max_clips", self.max_clips, "at least 2")
        require(self.batch_size >= 2, "batch_size", self.batch_size, "at least 2")
        require(self.shift_px >= 0, "shift_px", self.shift_px, "0 or more")


def train_clip(
    config: ClipConfig,
    clips: Sequence[str | Path],
    captions: Sequence[str | Path],
    output: str | Path,
) -> str:
    """Train on all good clips but one source video in ten, and measure on those.

    Args:
        config: see its fields.
        clips: tables of clips.
        captions: tables of captions.
        output: folder in open_clip's format, with metrics.jsonl and retrieval.json.

    Returns:
        The summary line.

    Raises:
        TableError: fewer than two captioned clips.
        ConfigError: `output` holds something else, or the config describes no CLIP.
    """
    refuse_foreign(output)
    torch.manual_seed(derive_seed(config.seed, "clip"))
    clip = build_clip(config)
    rows = draw_rows(read_captioned_clips(clips, captions), config.max_clips, config.seed)
    rows, images = load_storyboards(clip, rows)
    if len(rows) < 2:
        raise TableError(f"{clips[0]}: {len(rows)} readable clip with a caption; expected two")
    kept = is_held_out(rows)
    texts = rows[TEXT].to_numpy()
    metrics = _train(clip, images[~kept], list(texts[~kept]), config)
    report = measure_retrieval(clip, images[kept], list(texts[kept]), sorted(set(texts)))
    report |= trained_on("clips", rows["sha256"][~kept])
    with model_folder(output, metrics) as folder:
        save_clip(folder, clip)
        report |= {"threads": threads_in_use(), **as_trained(folder)}
        write_json(folder / "retrieval.json", report)
    return (
        f"{report['top1']:.0%} of {report['num_clips']} held-out clips prefer their caption to all"
        f" that differ in one word, after {config.num_steps} steps; CLIP in {output}"
    )


def build_clip(config: ClipConfig) -> ClipModel:
    """Build the networks with random weights.

    Raises:
        ConfigError: open_clip can not build them.
    """
    try:
        settings = {"model_cfg": config.model, "preprocess_cfg": config.preprocess}
        return ClipModel(settings, view="storyboard")
    except (TypeError, KeyError, ValueError, RuntimeError) as error:
        require(False, "model", config.model, f"an open_clip model ({error})")
        raise


def load_storyboards(clip: ClipModel, rows: pd.DataFrame) -> tuple[pd.DataFrame, Tensor]:
    """Decode four frames of each clip; returns the readable rows and [N, 3, H, W]."""
    found, images = [], []
    for index, row in rows.iterrows():
        pictures = read_spread(row, STORYBOARD_FRAMES)
        if pictures is not None:
            found.append(index)
            frames = np.stack([picture.resized(pictures[0].shown) for picture in pictures])
            images.append(clip.preprocess(storyboard(frames)[None]))
    return rows.loc[found].reset_index(drop=True), torch.cat(images) if images else torch.empty(0)


def is_held_out(rows: pd.DataFrame) -> np.ndarray:
    """Mark the clips of one source video in ten; of few videos at least one clip, bool [N]."""
    marks = np.array(
        [stable_shard(video, _HOLD_OUT_ONE_IN) == 0 for video in rows["video_id"]], dtype=bool
    )
    if marks.all() or not marks.any():
        marks[:] = np.arange(len(rows)) == len(rows) - 1
    return marks


def _train(
    clip: ClipModel, images: Tensor, texts: list[str], config: ClipConfig
) -> list[dict[str, Any]]:
    batch_size = min(config.batch_size, len(texts))
    if batch_size < config.batch_size:
        log.warning("batch shrunk batch_size=%d clips=%d", batch_size, len(texts))
    network = clip.network
    full = network.token_embedding
    used, tokens = clip.tokenize(texts).unique(return_inverse=True)  # [V'], [N, L]
    # of the 49 408 token embeddings only those that occur are trained, which is much faster;
    # the end-of-text token keeps the highest number, by which the text tower finds it
    network.token_embedding = nn.Embedding(len(used), full.embedding_dim)
    network.token_embedding.weight.data.copy_(full.weight[used])
    _, meaning = np.unique(texts, return_inverse=True)
    captions = torch.from_numpy(meaning)  # [N], equal for equal captions
    draw = torch.Generator().manual_seed(derive_seed(config.seed, "clip", "batches"))

    def losses() -> dict[str, Tensor]:
        index = torch.randperm(len(texts), generator=draw)[:batch_size]
        pictures = shift(images[index], config.shift_px, draw)
        seen = network.encode_image(pictures, normalize=True)  # [N, D]
        said = network.encode_text(tokens[index], normalize=True)  # [N, D]
        scale = network.logit_scale.clamp(max=_MAX_LOGIT_SCALE).exp()
        loss, accuracy = contrastive(scale * seen @ said.T, captions[index])
        return {"loss": loss, "accuracy": accuracy, "logit_scale": scale}

    hidden = [
        weight
        for name, weight in network.named_parameters()
        if ".resblocks." in name and weight.ndim == 2
    ]
    network.train()
    metrics = fit(
        losses,
        build_muon(network, hidden, lr=config.lr, adamw_lr=config.adamw_lr),
        num_steps=config.num_steps,
        warmup_steps=config.warmup_steps,
        log_every=config.log_every,
        description="train_clip",
    )
    network.eval()
    with torch.no_grad():
        network.logit_scale.clamp_(max=_MAX_LOGIT_SCALE)
        full.weight[used] = network.token_embedding.weight
    network.token_embedding = full
    return metrics


def contrastive(logits: Tensor, captions: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric cross entropy in which clips with equal captions share the target.

    Args:
        logits: [N, N], image times text.
        captions: int [N]; equal numbers are equal captions.

    Returns:
        The loss, and the share of images whose best caption is their own.

    Source: Radford et al. 2021, arXiv:2103.00020, figure 3.
    """
    same = captions[:, None] == captions[None, :]  # [N, N]
    targets = same / same.sum(dim=1, keepdim=True)
    loss = functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, targets)
    best = logits.argmax(dim=1)
    return loss / 2, (captions[best] == captions).float().mean()


def shift(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Move the four frames of each storyboard by the same random offset, repeating the border.

    Args:
        images: [N, 3, H, W], 2x2 frames.
        most: largest offset in pixels along each axis.
        generator: source of the offsets.
    """
    n, _, height, width = images.shape
    tall, wide = height // _GRID, width // _GRID
    offsets = torch.randint(-most, most + 1, (2, n, 1), generator=generator)
    rows = (torch.arange(tall) + offsets[0]).clamp(0, tall - 1)  # [N, tall]
    columns = (torch.arange(wide) + offsets[1]).clamp(0, wide - 1)  # [N, wide]
    frames = images.view(n, 3, _GRID, tall, _GRID, wide).permute(0, 3, 5, 1, 2, 4)
    moved = frames[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 4, 1, 5, 2).reshape(images.shape)


@torch.no_grad()
def measure_retrieval(
    clip: ClipModel, images: Tensor, texts: list[str], captions: list[str]
) -> dict[str, Any]:
    """Let each clip choose between its caption and all known ones that differ in one word.

    Args:
        clip: the trained model.
        images: [N, 3, H, W] preprocessed storyboards.
        texts: their N captions.
        captions: all captions, each once.

    Returns:
        num_clips; `top1`, the share that prefers its own caption to all variants; `pairs`, the
        share of single comparisons that come out right (both 1 where nothing differs).
    """
    batches = images.split(_EVALUATION_BATCH)
    seen = torch.cat([clip.network.encode_image(batch, normalize=True) for batch in batches])
    said = clip.encode_texts(captions)
    place = {caption: k for k, caption in enumerate(captions)}
    variants: dict[int, set[int]] = {}
    for group in one_word_variants(captions):
        for k in group:
            variants.setdefault(k, set()).update(set(group) - {k})
    wins: list[list[bool]] = []
    for image, text in zip(seen, texts, strict=True):
        own = place[text]
        others = sorted(variants.get(own, set()))
        wins.append((image @ said[own] > said[others] @ image).tolist() if others else [True])
    single = [win for row in wins for win in row]
    return {
        "num_clips": len(wins),
        "top1": round(sum(map(all, wins)) / len(wins), 4),
        "pairs": round(sum(single) / len(single), 4),
    }
