"""Embeddings as whole numbers: each token in -127..127 with a float32 scale of its own."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from opensora.stores.files import read_record

RECORD_FIELD = "int8_error"
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
) -> dict[str, float]:
    """Sums of what the rounding to int8 lost in one file, see `int8_error`."""
    lost = total = worst = 0.0
    for tokens, (values, scales) in zip(embeddings, rows, strict=True):
        exact = tokens.float()
        rounded = dequantise(values, scales, torch.empty_like(exact))
        errors = (rounded - exact).double().square().sum(1)  # [tokens]
        squares = exact.double().square().sum(1)
        lost, total = lost + float(errors.sum()), total + float(squares.sum())
        worst = max(worst, float((errors / squares.clamp(min=1e-30)).max()))
    return {"lost": lost, "total": total, "worst": worst}


def int8_error(folder: Path, names: Sequence[str]) -> dict[str, float] | None:
    """Measure what the int8 rows of some files lost.

    Returns:
        `relative_rms`: root of (sum of squared errors / sum of squares) over all tokens, and
        `worst_token`: the same for the token where it is largest. None without int8 rows.
    """
    parts = [(read_record(folder / name) or {}).get(RECORD_FIELD) for name in names]
    sums = [part for part in parts if part]
    if not sums:
        return None
    lost, total = (sum(part[name] for part in sums) for name in ("lost", "total"))
    return {
        "relative_rms": (lost / max(total, 1e-30)) ** 0.5,
        "worst_token": max(part["worst"] for part in sums) ** 0.5,
    }
