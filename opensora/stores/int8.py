"""Embeddings as whole numbers: each token in -127..127 with a float32 scale of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor

_LARGEST = 127  # -128 stays unused, so that x and -x round alike


def quantise(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Round each token to int8 with a scale of its own.

    Args:
        tokens: [tokens, dim], finite.

    Returns:
        int8 [tokens, dim] and float32 [tokens]; their product is within scale / 2 of `tokens`.
    """
    values = tokens.float()
    scales = values.abs().amax(1) / _LARGEST  # [tokens]
    steps = values / scales.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    return steps.round().clamp(-_LARGEST, _LARGEST).to(torch.int8), scales


def dequantise(values: Tensor, scales: Tensor, out: Tensor) -> Tensor:
    """Fill `out` [tokens, dim] with values int8 [tokens, dim] times scales [tokens]."""
    return torch.mul(values, scales[:, None], out=out)


def rounding_error(
    embeddings: Sequence[Tensor], rows: Sequence[tuple[Tensor, Tensor]]
) -> tuple[float, float, float]:
    """What the rounding to int8 lost.

    Returns:
        Sum of squared errors and sum of squares over all tokens; the ratio of the two of the token
        where it is largest.
    """
    lost = total = worst = 0.0
    for tokens, (values, scales) in zip(embeddings, rows, strict=True):
        exact = tokens.float()
        rounded = dequantise(values, scales, torch.empty_like(exact))
        errors = (rounded - exact).double().square().sum(1)  # [tokens]
        squares = exact.double().square().sum(1)
        lost, total = lost + float(errors.sum()), total + float(squares.sum())
        worst = max(worst, float((errors / squares.clamp(min=1e-30)).max()))
    return lost, total, worst
