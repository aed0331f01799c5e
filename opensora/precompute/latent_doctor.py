"""Measure latents with the autoencoder: the facts of a data file that the gate judges by.

Sums per channel, bad values, and how well a few clips survive encoding and decoding (PSNR), with a
picture of them.
"""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from opensora.core.errors import VideoError
from opensora.core.io import atomic_path
from opensora.core.process import threads_in_use
from opensora.media.frames import psnr, to_uint8

log = logging.getLogger(__name__)

_CLIPS = 4  # of a file, or of a bucket that exists already
_PEAK = 2.0  # pixels span [-1, 1]
_EQUAL_DB = 120.0  # above what any float32 decoder reaches
_FRAMES = 3  # of each clip: the first, the middle and the last one
_LONG_SIDE = 160  # pixels of a frame in the picture; smaller frames stay as they are
_GAP = 4  # white pixels between frames


class Decoder(Protocol):
    """What the gate needs of an autoencoder."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, t, h, w] -> pixels [B, 3, T, H, W]."""


def latent_facts(latents: Iterable[Tensor], *, are_moments: bool) -> dict[str, Any]:
    """Sums over rows of one bucket in one pass.

    Args:
        latents: [C, T, H, W] each.
        are_moments: means and deviations; the sums are of the means, `spread` of the deviations,
            and a negative deviation is a bad value.

    Returns:
        `items`; `bad_values`; `count` of values per channel; `sum`, `square` and `spread` per
        channel, None where they are no number; `psnr`, an empty list; `threads`.
    """
    items = count = bad = 0
    total = square = spread = torch.zeros(0, dtype=torch.float64)
    for row in latents:
        values = row.double().flatten(1)  # [C, T*H*W]
        bad += int((~values.isfinite()).sum())
        if are_moments:
            values, deviations = values.chunk(2)
            bad += int((deviations < 0).sum())
            spread = deviations.sum(1) + (spread if items else 0)
        total = values.sum(1) + (total if items else 0)
        square = values.square().sum(1) + (square if items else 0)
        items, count = items + 1, count + values.shape[1]
    sums = {"sum": total, "square": square, "spread": spread}
    return {
        **{"items": items, "bad_values": bad, "count": count},
        **{name: [_number(value) for value in part.tolist()] for name, part in sums.items()},
        **{"psnr": [], "threads": threads_in_use()},
    }


def few(number: int) -> list[int]:
    """Positions of the rows to decode, of so many."""
    return [int(k) for k in np.unique(np.linspace(0, number - 1, _CLIPS).astype(int))]


@torch.no_grad()
def round_trip(
    latents: Tensor,
    read: Callable[[], Tensor],
    decoder: Decoder,
    *,
    are_moments: bool,
    device: str,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor] | None:
    """Pixels of a clip and what its latents decode to, both [3, T, H, W] in [-1, 1].

    Args:
        latents: [C, T, H, W].
        read: gives the pixels as they were encoded.
        decoder: the autoencoder.
        are_moments: decode the means alone.
        device: where the decoder is.
        dtype: type of its weights.

    Returns:
        None where the clip can not be read any more.
    """
    try:
        pixels = read()
    except VideoError as error:
        log.warning("doctor left out: %s", error)
        return None
    rows = latents[None].chunk(2, dim=1)[0] if are_moments else latents[None]
    decoded = decoder.decode(rows.to(device, dtype))[0].float().cpu()
    # lengths that are no multiple of the autoencoder's stride lose their remainder
    T, H, W = (min(sizes) for sizes in zip(decoded.shape[1:], pixels.shape[1:], strict=True))
    return pixels[:, :T, :H, :W], decoded[:, :T, :H, :W].clamp(-1, 1)


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def decibels(original: Tensor, decoded: Tensor) -> float:
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
