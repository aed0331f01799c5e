"""Single pictures as a CLIP model sees them, and how alike two pictures are, pixel by pixel."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from opensora.models.clip_model import ClipModel, storyboard

_SIGMA, _WINDOW = 1.5, 11  # of the published SSIM, in pixels
_K1, _K2, _PEAK = 0.01, 0.03, 255.0


def embed_stills(clip: ClipModel, frames: np.ndarray) -> np.ndarray:
    """Embed frames uint8 [T, H, W, 3] one by one as unit vectors [T, D].

    A model that was trained on storyboards sees each as a storyboard in which nothing moves.
    """
    if clip.view == "storyboard":
        frames = np.stack([storyboard(frame[None]) for frame in frames])
    vectors: np.ndarray = clip.encode_images(frames).numpy()
    return vectors


def ssim(one: Tensor, other: Tensor) -> float:
    """Structural similarity of two pictures, the mean over colours and places, at most 1.

    Args:
        one: uint8 [3, H, W].
        other: the same shape.

    Source: Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural
    Similarity", IEEE Trans. Image Process. 13, 600-612.
    """
    a, b = one.double()[:, None], other.double()[:, None]  # [3, 1, H, W]
    sides = [min(_WINDOW, side) for side in a.shape[2:]]  # a small picture has a small window
    rows, columns = (_gauss(side) for side in sides)
    window = (rows[:, None] * columns)[None, None]  # [1, 1, h, w]

    def mean(x: Tensor) -> Tensor:
        return functional.conv2d(x, window)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    both = mean(a * b) - mean_a * mean_b
    c1, c2 = (_K1 * _PEAK) ** 2, (_K2 * _PEAK) ** 2
    light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * both + c2) / (var_a + var_b + c2)
    return float((light * structure).mean())


def _gauss(size: int) -> Tensor:
    place = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = torch.exp(-(place**2) / (2 * _SIGMA**2))
    return weights / weights.sum()
