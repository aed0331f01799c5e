"""Position tables: sin-cos for space and time, rotary for temporal attention.

Tables depend on sizes only, so each is made once per size and shared by all models. They are
made outside inference mode: a table first used for sampling must also serve a training step.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn

MAX_PERIOD = 10_000.0
_KEPT_TABLES = 256  # sizes remembered; a bucket needs one or two


def inverse_frequencies(dim: int) -> Tensor:
    """[dim / 2] float64: MAX_PERIOD^(-2i / dim)."""
    return MAX_PERIOD ** (-torch.arange(0, dim, 2, dtype=torch.float64, device="cpu") / dim)


def sincos(position: Tensor, dim: int) -> Tensor:
    """Sines then cosines of each position.

    Args:
        position: [N] float64.
        dim: even number of channels.

    Returns:
        [N, dim] float64.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5 (halves instead of interleaved).
    """
    angles = position[:, None] * inverse_frequencies(dim)
    return torch.cat((angles.sin(), angles.cos()), dim=1)


@lru_cache(maxsize=_KEPT_TABLES)
@torch.inference_mode(False)
def temporal_table(
    length: int, dim: int, *, scale: float = 1.0, device: torch.device | None = None
) -> Tensor:
    """Sin-cos table of frame positions index / scale, [1, length, dim] float32."""
    position = torch.arange(length, dtype=torch.float64, device="cpu") / scale
    return sincos(position, dim).float().to(device or "cpu")[None]


@lru_cache(maxsize=_KEPT_TABLES)
@torch.inference_mode(False)
def spatial_table(
    grid_h: int,
    grid_w: int,
    dim: int,
    *,
    scale: float = 1.0,
    base_size: int | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Sin-cos table of a token grid, row by row.

    The first half of the channels holds the column, the second half the row.

    Args:
        grid_h: rows of tokens.
        grid_w: columns of tokens.
        dim: channels, divisible by 4.
        scale: coordinate = index / scale.
        base_size: when given, each axis is stretched to span base_size / scale.
        device: where the table lives.

    Returns:
        [1, grid_h * grid_w, dim] float32.
    """
    rows = torch.arange(grid_h, dtype=torch.float64, device="cpu") / scale
    columns = torch.arange(grid_w, dtype=torch.float64, device="cpu") / scale
    if base_size is not None:
        rows, columns = rows * (base_size / grid_h), columns * (base_size / grid_w)
    table = torch.cat(
        (
            sincos(columns, dim // 2)[None].expand(grid_h, -1, -1),
            sincos(rows, dim // 2)[:, None].expand(-1, grid_w, -1),
        ),
        dim=2,
    )
    return table.reshape(1, grid_h * grid_w, dim).float().to(device or "cpu")


@lru_cache(maxsize=_KEPT_TABLES)
@torch.inference_mode(False)
def rotation_table(length: int, dim: int, *, device: torch.device | None = None) -> Tensor:
    """Unit complex numbers exp(i * position * frequency), [length, dim / 2] complex64."""
    position = torch.arange(length, dtype=torch.float64, device="cpu")
    angles = position[:, None] * inverse_frequencies(dim)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64).to(device or "cpu")


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate the channel pairs (2i, 2i + 1) of x by a table.

    Args:
        x: [..., d] float32.
        rotation: [..., d / 2] complex64, broadcastable to the pairs of x.

    Source: Su et al. 2021, arXiv:2104.09864, eq. 34.
    """
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2)


class RotaryEmbedding(nn.Module):
    """Rotary positions of `dim` channels; position = index.

    `freqs` is kept for checkpoints and never trained. The tables come from the formula instead,
    so that a model cast to bfloat16 does not rotate by rounded frequencies.

    Args:
        dim: channels of one attention head, even.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.freqs = nn.Parameter(inverse_frequencies(dim).float(), requires_grad=False)

    def forward(self, length: int) -> Tensor:
        """Table for `length` positions, [length, dim / 2] complex64 on the module's device."""
        return rotation_table(length, self.dim, device=self.freqs.device)
