"""From pixels to latent values to tokens: how large a sample of a bucket is for the model."""

import math
from dataclasses import dataclass

from opensora.datasets.bucket import Bucket

Size3 = tuple[int, int, int]

DEFAULT_VAE_STRIDE: Size3 = (1, 8, 8)  # of Stable Diffusion's autoencoders, frame by frame
DEFAULT_PATCH_SIZE: Size3 = (1, 2, 2)  # of STDiT-XL/2
PATCH_SIZES: dict[str, Size3] = {"2": (1, 2, 2), "2x2": (2, 2, 2)}  # what XL/2 and XL/2x2 say


@dataclass(frozen=True)
class TokenGrid:
    """What one latent value and one token cover.

    Attributes:
        vae_stride: frames, rows and columns of pixels of one latent value.
        patch_size: frames, rows and columns of latent values of one token.
    """

    vae_stride: Size3 = DEFAULT_VAE_STRIDE
    patch_size: Size3 = DEFAULT_PATCH_SIZE

    @property
    def token_size(self) -> Size3:
        """Frames, rows and columns of pixels of one token."""
        t, h, w = (s * p for s, p in zip(self.vae_stride, self.patch_size, strict=True))
        return t, h, w

    def latent_size(self, bucket: Bucket) -> Size3:
        """Latent (T, H, W) of a bucket: the autoencoder rounds down, but keeps one frame."""
        pixels = (bucket.num_frames, *bucket.size)
        t, h, w = (max(n // s, 1) for n, s in zip(pixels, self.vae_stride, strict=True))
        return t, h, w

    def token_grid(self, bucket: Bucket) -> Size3:
        """Tokens (T, rows, columns) of a bucket: the model fills the last patches up."""
        latent = self.latent_size(bucket)
        t, h, w = (-(-n // p) for n, p in zip(latent, self.patch_size, strict=True))
        return t, h, w

    def tokens(self, bucket: Bucket) -> int:
        """Tokens of one sample."""
        return math.prod(self.token_grid(bucket))
