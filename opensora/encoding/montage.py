"""A picture that shows what an autoencoder keeps: originals above, reconstructions below."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from opensora.core.io import atomic_path

_FRAMES = 3  # of each clip: the first, the middle and the last one
_LONG_SIDE = 160  # pixels of a frame in the picture; smaller frames stay as they are
_GAP = 4  # white pixels between frames


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
    pixels = ((clip[:, place].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)  # [3, H, W]
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    scale = min(1.0, _LONG_SIDE / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    frame = np.asarray(image.resize(size, Image.Resampling.BOX) if scale < 1 else image)
    return np.pad(frame, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)
