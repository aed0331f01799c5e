"""Position tables: sin-cos for space and time, rotary for temporal attention.

Tables are computed when they are needed and kept nowhere: they take 0.4 ms for 1024 tokens of 1152
channels, a cache over all shapes of a bucket config would take gigabytes, and the scale of a table
may be a number that only the device knows.
"""

import torch
from torch import Tensor, nn

MAX_PERIOD = 10_000.0

Device = torch.device | str


def inverse_frequencies(dim: int, device: Device = "cpu") -> Tensor:
    """[dim // 2] float64: MAX_PERIOD^(-2i / dim)."""
    index = torch.arange(dim // 2, dtype=torch.float64, device=device)
    return MAX_PERIOD ** (-2 * index / dim)


def sincos(position: Tensor, dim: int) -> Tensor:
    """Sines then cosines of each position.

    Args:
        position: [N] float64.
        dim: even number of channels.

    Returns:
        [N, dim] float64.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5 (halves instead of interleaved).
    """
    angles = position[:, None] * inverse_frequencies(dim, position.device)
    return torch.cat((angles.sin(), angles.cos()), dim=1)


def temporal_table(length: int, dim: int, *, scale: float = 1.0, device: Device = "cpu") -> Tensor:
    """Sin-cos table of frame positions index / scale, [1, length, dim] float32."""
    position = torch.arange(length, dtype=torch.float64, device=device) / scale
    return sincos(position, dim).float()[None]


def spatial_table(
    grid_h: int,
    grid_w: int,
    dim: int,
    *,
    scale: float | Tensor = 1.0,
    base_size: int | None = None,
    device: Device = "cpu",
) -> Tensor:
    """Sin-cos table of a token grid, row by row.

    The first half of the channels holds the column, the second half the row.

    Args:
        grid_h: rows of tokens.
        grid_w: columns of tokens.
        dim: channels, divisible by 4.
        scale: coordinate = index / scale; a number or a tensor of one number on the device.
        base_size: when given, each axis is stretched to span base_size / scale.
        device: where the table is made.

    Returns:
        [1, grid_h * grid_w, dim] float32.
    """
    rows = torch.arange(grid_h, dtype=torch.float64, device=device) / scale
    columns = torch.arange(grid_w, dtype=torch.float64, device=device) / scale
    if base_size is not None:
        rows, columns = rows * (base_size / grid_h), columns * (base_size / grid_w)
    table = torch.cat(
        (
            sincos(columns, dim // 2).float().expand(grid_h, -1, -1),
            sincos(rows, dim // 2).float()[:, None].expand(-1, grid_w, -1),
        ),
        dim=2,
    )
    return table.view(1, grid_h * grid_w, dim)


def scaled_table(
    grid_h: int, grid_w: int, dim: int, *, height: Tensor, width: Tensor, input_sq_size: int
) -> Tensor:
    """Spatial table for a video of any size; the first sample of a batch sets the scale.

    Both axes span the side of the square with as many tokens, in units of `input_sq_size` pixels.

    Args:
        grid_h: rows of tokens.
        grid_w: columns of tokens.
        dim: channels, divisible by 4.
        height: [b] pixels; the table is made on its device, which never has to be waited for.
        width: [b] pixels.
        input_sq_size: side in pixels of the square whose positions are counted 0, 1, 2, ...

    Returns:
        [1, grid_h * grid_w, dim] float32.
    """
    side = (height[0].double() * width[0].double()).sqrt()
    return spatial_table(
        grid_h,
        grid_w,
        dim,
        scale=side / input_sq_size,
        base_size=round((grid_h * grid_w) ** 0.5),
        device=height.device,
    )


def rotation_table(length: int, dim: int, *, device: Device = "cpu") -> Tensor:
    """Cosine and sine of position * frequency, [length, dim // 2, 2] float32."""
    position = torch.arange(length, dtype=torch.float64, device=device)
    angles = position[:, None] * inverse_frequencies(dim, device)
    return torch.stack((angles.cos(), angles.sin()), dim=-1).float()


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate the channel pairs (2i, 2i + 1) of x by a table; a last single channel stays.

    Args:
        x: [..., d] float32.
        rotation: [..., d // 2, 2] float32, broadcastable to the pairs of x.

    Source: Su et al. 2021, arXiv:2104.09864, eq. 34.
    """
    if x.shape[-1] % 2:
        paired = rotate(x[..., :-1].contiguous(), rotation)
        return torch.cat((paired, x[..., -1:]), dim=-1)
    pairs = x.unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # it fuses real products and no complex ones
        (a, b), (cosine, sine) = pairs.unbind(-1), rotation.unbind(-1)
        return torch.stack((a * cosine - b * sine, a * sine + b * cosine), dim=-1).flatten(-2)
    turned = torch.view_as_complex(pairs) * torch.view_as_complex(rotation)  # one pass
    return torch.view_as_real(turned).flatten(-2)


class RotaryEmbedding(nn.Module):
    """Rotary positions of `dim` channels; position = index.

    `freqs` is kept for checkpoints and never trained. The tables come from the formula instead,
    so that a model cast to bfloat16 does not rotate by rounded frequencies.

    Args:
        dim: channels of one attention head.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.freqs = nn.Parameter(inverse_frequencies(dim).float(), requires_grad=False)

    def forward(self, length: int) -> Tensor:
        """Table for `length` positions, [length, dim // 2, 2] on the module's device."""
        return rotation_table(length, self.dim, device=self.freqs.device)
