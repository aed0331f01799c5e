"""The part of Open-Sora 1.2's autoencoder that compresses time: latents of frames to fewer of them.

It follows MAGVIT-v2: causal convolutions, so a latent frame knows nothing of later frames. Names of
weights are those of the reference.

Axes: B batch, C channels, T frames (t of latents), H W size of the frames' latents.

Source: Yu et al. 2023, arXiv:2310.05737; Zheng et al. 2024, arXiv:2412.20404.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

LATENTS = 4  # channels on both sides
HALVED = (False, True, True)  # between two levels, whether time is halved
STRIDE = 4  # frames of one latent frame
GROUPS = 32  # of all norms


class CausalConv3d(nn.Module):
    """A convolution that sees no later frame: zeros stand before the first one.

    Args:
        channels: in.
        filters: channels out.
        kernel: of all three sides, odd.
        stride: along time.
        bias: whether there is one.
    """

    def __init__(
        self, channels: int, filters: int, kernel: int = 3, *, stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, filters, kernel, stride=(stride, 1, 1), bias=bias)
        side = kernel // 2
        self._padding = (side, side, side, side, kernel - stride, 0)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, H, W] to [B, filters, T / stride, H, W]."""
        y: Tensor = self.conv(functional.pad(x, self._padding))
        return y


class ResBlock(nn.Module):
    """Two normalised convolutions, added to what came in."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, channels)
        self.conv1 = CausalConv3d(channels, filters, bias=False)
        self.norm2 = nn.GroupNorm(GROUPS, filters)
        self.conv2 = CausalConv3d(filters, filters, bias=False)
        if channels != filters:
            self.conv3 = CausalConv3d(channels, filters, kernel=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T, H, W] to [B, filters, T, H, W]."""
        y = self.conv1(functional.silu(self.norm1(x)))
        y = self.conv2(functional.silu(self.norm2(y)))
        shortcut: Tensor = self.conv3(x) if hasattr(self, "conv3") else x
        return shortcut + y


def _blocks(channels: int, filters: int, depth: int) -> nn.ModuleList:
    first = [ResBlock(channels, filters)]
    return nn.ModuleList([*first, *(ResBlock(filters, filters) for _ in range(depth - 1))])


class Encoder(nn.Module):
    """Latents of frames to the moments of fewer latents.

    Args:
        widths: channels of each level.
        depth: blocks of each level.
    """

    def __init__(self, widths: Sequence[int], depth: int) -> None:
        super().__init__()
        self.conv_in = CausalConv3d(LATENTS, widths[0], bias=False)
        before = [widths[0], *widths[:-1]]
        self.block_res_blocks = nn.ModuleList(
            _blocks(channels, filters, depth)
            for channels, filters in zip(before, widths, strict=True)
        )
        self.conv_blocks = nn.ModuleList(
            CausalConv3d(width, width, stride=2) if halved else nn.Identity()
            for width, halved in zip(widths, HALVED, strict=False)
        )
        last = widths[-1]
        self.res_blocks = _blocks(last, last, depth)
        self.norm1 = nn.GroupNorm(GROUPS, last)
        self.conv2 = CausalConv3d(last, 2 * LATENTS, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 4, T, H, W] to [B, 8, t, H, W]; T is a multiple of 4."""
        x = self.conv_in(x)
        for level, blocks in enumerate(self.block_res_blocks):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x)
            if level < len(self.conv_blocks):
                x = self.conv_blocks[level](x)
        for block in self.res_blocks:
            x = block(x)
        y: Tensor = self.conv2(functional.silu(self.norm1(x)))
        return y


class Decoder(nn.Module):
    """Latents back to those of frames; arguments as of Encoder."""

    def __init__(self, widths: Sequence[int], depth: int) -> None:
        super().__init__()
        last = widths[-1]
        self.conv1 = CausalConv3d(LATENTS, last)
        self.res_blocks = _blocks(last, last, depth)
        before = [*widths[1:], last]
        self.block_res_blocks = nn.ModuleList(
            _blocks(channels, filters, depth)
            for channels, filters in zip(before, widths, strict=True)
        )
        # to twice the channels, which become twice the frames
        self.conv_blocks = nn.ModuleList(
            CausalConv3d(width, 2 * width) if halved else nn.Identity()
            for width, halved in zip(widths[1:], HALVED, strict=True)
        )
        self.norm1 = nn.GroupNorm(GROUPS, widths[0])
        self.conv_out = CausalConv3d(widths[0], LATENTS)

    def forward(self, z: Tensor) -> Tensor:
        """[B, 4, t, H, W] to [B, 4, 4 t, H, W]."""
        x = self.conv1(z)
        for block in self.res_blocks:
            x = block(x)
        for level in reversed(range(len(self.block_res_blocks))):
            for block in self.block_res_blocks[level]:  # type: ignore[attr-defined]
                x = block(x)
            if level and HALVED[level - 1]:
                x = _twice(self.conv_blocks[level - 1](x))
        y: Tensor = self.conv_out(functional.silu(self.norm1(x)))
        return y


def _twice(x: Tensor) -> Tensor:
    """[B, 2 C, T, H, W] to [B, C, 2 T, H, W]: neighbouring channels become neighbouring frames."""
    return x.unflatten(1, (-1, 2)).transpose(2, 3).flatten(2, 3)


class TemporalAutoencoder(nn.Module):
    """Both ways along time, for one run of frames.

    Args:
        widths: channels of the four levels.
        depth: blocks of a level.
    """

    def __init__(self, widths: Sequence[int] = (128, 256, 256, 512), depth: int = 4) -> None:
        super().__init__()
        self.encoder = Encoder(widths, depth)
        self.quant_conv = CausalConv3d(2 * LATENTS, 2 * LATENTS, kernel=1)
        self.post_quant_conv = CausalConv3d(LATENTS, LATENTS, kernel=1)
        self.decoder = Decoder(widths, depth)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [B, 4, t, H, W] of [B, 4, T, H, W].

        Zeros are put before the first frame until T is a multiple of 4.
        """
        x = functional.pad(x, (0, 0, 0, 0, -x.shape[2] % STRIDE, 0))
        mean, logvar = self.quant_conv(self.encoder(x)).chunk(2, dim=1)
        return mean, torch.exp(0.5 * logvar.clamp(-30.0, 20.0))

    def decode(self, z: Tensor, num_frames: int) -> Tensor:
        """The last so many frames [B, 4, T, H, W] that latents [B, 4, t, H, W] stand for."""
        x: Tensor = self.decoder(self.post_quant_conv(z))
        return x[:, :, x.shape[2] - num_frames :]
