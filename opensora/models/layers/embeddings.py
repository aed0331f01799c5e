"""Embedders: latents to tokens, scalars to vectors, captions and class labels to conditions.

Axes: B batch, C latent channels, T H W latent size, D channels of the model, L text tokens.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opensora.models.layers.blocks import Mlp
from opensora.models.layers.positions import MAX_PERIOD

Size3 = tuple[int, int, int]


class PatchEmbed3D(nn.Module):
    """Cut a latent video into patches and project each to one token.

    Sizes that the patch does not divide are padded with zeros at the end. The convolution
    only holds the weights: with stride = kernel it is one matrix product, which is faster so.

    Args:
        patch_size: latent frames, rows and columns of one patch.
        in_channels: C.
        dim: D.
    """

    def __init__(self, patch_size: Size3, in_channels: int, dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv3d(in_channels, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens of x [B, C, T, H, W]: [B, grid_t, grid_h * grid_w, D]."""
        pt, ph, pw = self.patch_size
        B, C, T, H, W = x.shape
        if T % pt or H % ph or W % pw:
            x = F.pad(x, (0, -W % pw, 0, -H % ph, 0, -T % pt))
            T, H, W = x.shape[2:]
        grid = T // pt, H // ph, W // pw
        x = x.reshape(B, C, grid[0], pt, grid[1], ph, grid[2], pw)
        x = x.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(B, grid[0], grid[1] * grid[2], -1)
        return F.linear(x, self.proj.weight.flatten(1), self.proj.bias)


def timestep_features(t: Tensor, dim: int) -> Tensor:
    """Cosines then sines of t at log-spaced frequencies; an odd width ends in one zero.

    Args:
        t: [N], any real dtype, fractional values allowed.
        dim: channels.

    Returns:
        [N, dim] float32.

    Source: Nichol and Dhariwal 2021, arXiv:2102.09672 (improved DDPM).
    """
    half = dim // 2
    exponent = torch.arange(half, dtype=torch.float32, device=t.device) / half
    angles = t.float()[:, None] * torch.exp(-math.log(MAX_PERIOD) * exponent)
    features = torch.cat((angles.cos(), angles.sin()), dim=1)
    return F.pad(features, (0, dim % 2))


class TimestepEmbedder(nn.Module):
    """Timesteps [N] to vectors [N, D].

    Args:
        dim: D.
        frequency_dim: channels of the sinusoidal features.
    """

    def __init__(self, dim: int, frequency_dim: int = 256) -> None:
        super().__init__()
        self.frequency_dim = frequency_dim
        self.mlp = nn.Sequential(nn.Linear(frequency_dim, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Tensor) -> Tensor:
        """Embed t [N]."""
        weight = self.mlp[0].weight
        assert isinstance(weight, Tensor)
        return self.mlp(timestep_features(t, self.frequency_dim).to(weight.dtype))


class SizeEmbedder(TimestepEmbedder):
    """k numbers per sample (height and width, frame rate, ...) to one vector of k * D channels."""

    def forward(self, sizes: Tensor, batch_size: int | None = None) -> Tensor:
        """Embed sizes.

        Args:
            sizes: [b, k]; repeated to batch_size rows where b is a divisor of it.
            batch_size: B; None = b.

        Returns:
            [B, k * D].
        """
        sizes = repeat_rows(sizes, batch_size or len(sizes))
        return super().forward(sizes.flatten()).view(len(sizes), -1)


def repeat_rows(x: Tensor, batch_size: int) -> Tensor:
    """Repeat the rows of x [b, ...] to [batch_size, ...]: both halves of a guided batch."""
    if len(x) == batch_size:
        return x
    if not len(x) or batch_size % len(x):
        raise ValueError(f"{len(x)} rows can not be repeated to a batch of {batch_size}")
    return x.repeat(batch_size // len(x), *[1] * (x.ndim - 1))


class CaptionEmbedder(nn.Module):
    """Project text embeddings to the width of the model; drop captions in training.

    A dropped caption becomes `y_embedding`, which samplers also use as the empty prompt.

    Args:
        in_channels: channels of the text encoder.
        dim: D.
        drop_probability: chance that a training caption is replaced.
        num_tokens: longest text L.
    """

    y_embedding: Tensor

    def __init__(
        self, in_channels: int, dim: int, drop_probability: float, num_tokens: int = 120
    ) -> None:
        super().__init__()
        self.drop_probability = drop_probability
        self.register_buffer("y_embedding", torch.randn(num_tokens, in_channels) / in_channels**0.5)
        self.y_proj = Mlp(in_channels, dim, dim)

    def forward(self, y: Tensor, drop: Tensor | None = None) -> Tensor:
        """Project captions.

        Args:
            y: [B, 1, L, in_channels]; L at most num_tokens.
            drop: bool [B], rows to replace; None = by chance in training, none otherwise.

        Returns:
            [B, 1, L, D].

        Raises:
            ValueError: the captions are longer than the null caption.
        """
        if y.shape[2] > len(self.y_embedding):
            raise ValueError(
                f"captions of {y.shape[2]} tokens, the model takes {len(self.y_embedding)}"
                " (model_max_length)"
            )
        if drop is None and self.training and self.drop_probability > 0:
            drop = torch.rand(len(y), device=y.device) < self.drop_probability
        if drop is not None:
            null = self.y_embedding[: y.shape[2]].to(y.dtype)
            y = torch.where(drop.view(-1, 1, 1, 1), null, y)
        return self.y_proj(y)


class LabelEmbedder(nn.Module):
    """Class labels to vectors, with one extra row for "no class".

    Args:
        num_classes: labels; the label num_classes means none.
        dim: D.
        drop_probability: chance that a training label is replaced by none.
    """

    def __init__(self, num_classes: int, dim: int, drop_probability: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.drop_probability = drop_probability
        self.embedding_table = nn.Embedding(num_classes + int(drop_probability > 0), dim)

    def forward(self, labels: Tensor, drop: Tensor | None = None) -> Tensor:
        """Embed labels [B] to [B, D]; `drop` as in `CaptionEmbedder`."""
        if drop is None and self.training and self.drop_probability > 0:
            drop = torch.rand(len(labels), device=labels.device) < self.drop_probability
        if drop is not None:
            labels = torch.where(drop, self.num_classes, labels)
        return self.embedding_table(labels)
