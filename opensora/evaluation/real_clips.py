"""Clips of the manifest, seen as the samples are: size in pixels, length and frame rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from opensora.core.seed import derive_seed
from opensora.media.frames import iter_fitted
from opensora.media.unchanged import check_unchanged
from opensora.tables.columns import ID, PATH
from opensora.tables.manifest import read_manifest

_COLUMNS = (PATH, "fps", "aspect_ratio", "source", "start", "end", "sha256", "split")
INTERVAL = "_interval"  # column: source frames per frame


@dataclass(frozen=True)
class View:
    """Size and rate at which clips are looked at: those of the samples."""

    num_frames: int
    height: int
    width: int
    fps: float


def view_of(samples: pd.DataFrame) -> View:
    """The most frequent size of the samples."""
    columns = ["num_frames", "height", "width", "fps"]
    num_frames, height, width, fps = samples[columns].value_counts().index[0]
    return View(int(num_frames), int(height), int(width), float(fps))


def choose_clips(manifest: Path, view: View, most: int) -> pd.DataFrame:
    """Up to `most` videos of each split that are long enough, chosen by their id alone.

    Returns:
        Rows of the manifest with an `_interval`.
    """
    frame = read_manifest(manifest, columns=_COLUMNS)
    videos = frame[frame["num_frames"] > 1]
    spacing = intervals(videos["fps"], view.fps)
    long_enough = videos["num_frames"] > (view.num_frames - 1) * spacing
    videos = videos[long_enough].assign(**{INTERVAL: spacing[long_enough]})
    order = videos[ID].map(lambda name: derive_seed("reconstruction", name))
    videos = videos.loc[order.sort_values().index]
    return videos.groupby("split", sort=True).head(most).reset_index(drop=True)


def fitted(view: View, aspect_ratio: float, strides: Sequence[int] = (1, 1)) -> View:
    """The same number of pixels in the aspect ratio of a clip: nothing of it is cut off.

    Args:
        view: of the samples.
        aspect_ratio: height over width.
        strides: height and width are multiples of these.
    """
    root = (view.height * view.width) ** 0.5
    height = max(1, round(root * aspect_ratio**0.5 / strides[0])) * strides[0]
    width = max(1, round(root / aspect_ratio**0.5 / strides[1])) * strides[1]
    return replace(view, height=height, width=width)


def intervals(clip_fps: pd.Series, fps: float) -> pd.Series:
    """Source frames per frame, so that a clip runs at the rate of the samples."""
    return (clip_fps / fps).round().clip(lower=1).astype(int)


def read_clip(row: Mapping[Any, Any], view: View) -> Tensor:
    """First frames of a clip as the samples are seen: [3, T, H, W] in [-1, 1].

    Raises:
        VideoError: the file is not the one of the manifest, or can not be read.
    """
    check_unchanged(row[PATH], row["sha256"])
    stop = (view.num_frames - 1) * row[INTERVAL] + 1
    size = (view.height, view.width)
    frames = iter_fitted(row[PATH], size, stop=stop, frame_interval=row[INTERVAL])
    return torch.stack(list(frames), dim=1)
