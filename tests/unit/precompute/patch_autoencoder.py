"""An autoencoder whose latents can be checked by hand."""

from typing import Any

import torch
from einops import rearrange

from opensora.models.vae import sample_moments


class PatchAutoencoder:
    """An autoencoder that loses nothing: 4x4 patches of pixels become 48 channels."""

    out_channels = 48
    patch_size = (1, 4, 4)
    micro_batch_size: int | None = None

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise
        self.calls: list[int] = []  # clips of each call

    def encode(self, x: torch.Tensor, *, generator: Any, posterior: str) -> torch.Tensor:
        self.calls.append(len(x))
        z = rearrange(x, "b c t (h p) (w q) -> b (c p q) t h w", p=4, q=4)
        moments = torch.cat([z, torch.full_like(z, self.noise)], dim=1)
        if posterior == "moments":
            return moments
        return sample_moments(moments, generator) if posterior == "sample" else z

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return rearrange(z, "b (c p q) t h w -> b c t (h p) (w q)", p=4, q=4)

    def get_latent_size(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        return size[0], size[1] // 4, size[2] // 4

    def identity(self) -> dict[str, Any]:
        return {"type": "patch", "weights": "none"}
