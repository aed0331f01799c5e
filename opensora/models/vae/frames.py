"""Image autoencoders of diffusers applied to the frames of a video.

Axes: B batch, T frames, H W pixels, C latent channels, h w latent size, N = B * T frames.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor

from opensora.config.latent_grid import grid_of
from opensora.config.registry import MODELS
from opensora.models.vae.base import VideoAutoencoder

DEFAULT_SCALING_FACTOR = 0.18215  # of Stable Diffusion 1.x, where a config does not say


@MODELS.register_module("VideoAutoencoderKL")
class VideoAutoencoderKL(VideoAutoencoder):
    """diffusers' AutoencoderKL, frame by frame.

    Args:
        from_pretrained: folder in the diffusers format (safetensors), or a hub name.
        micro_batch_size: frames per call, to save memory; None = all at once.
        scaling_factor: latents are multiplied by it; None = what the folder says.
        cache_dir: folder of the hub cache; None = the user's.
        local_files_only: take a hub name from the cache alone, never from the network.

    Raises:
        CheckpointError: the folder can not be loaded.
    """

    network: ClassVar[str] = "AutoencoderKL"

    def __init__(
        self,
        from_pretrained: str,
        micro_batch_size: int | None = None,
        scaling_factor: float | None = None,
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        super().__init__(from_pretrained, micro_batch_size, cache_dir, local_files_only)
        config = self.module.config
        self.scaling_factor = float(
            scaling_factor or config.get("scaling_factor") or DEFAULT_SCALING_FACTOR
        )
        self.shift_factor = float(config.get("shift_factor") or 0)
        self.out_channels = int(config["latent_channels"])
        self.patch_size = grid_of(config, self.network).stride

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        frames = x.transpose(1, 2).flatten(0, 1)  # [N, 3, H, W]
        parts = [self.module.encode(part).latent_dist for part in self._split(frames)]
        mean = torch.cat([part.mean for part in parts])  # [N, C, h, w]
        std = torch.cat([part.std for part in parts])
        shape = x.shape[0], x.shape[2]
        return mean.unflatten(0, shape).transpose(1, 2), std.unflatten(0, shape).transpose(1, 2)

    def _decode(self, z: Tensor) -> Tensor:
        B, _, T = z.shape[:3]
        frames = self._decode_frames(z.transpose(1, 2).flatten(0, 1), T)
        return frames.unflatten(0, (B, T)).transpose(1, 2)

    def _decode_frames(self, frames: Tensor, num_frames: int) -> Tensor:
        """Unscaled latents [N, C, h, w] to frames [N, 3, H, W]."""
        return torch.cat([self.module.decode(part).sample for part in self._split(frames)])

    def _scaling(self, z: Tensor) -> tuple[float, float]:
        return self.shift_factor, self.scaling_factor

    def _scaling_identity(self) -> dict[str, Any]:
        shift = {"shift_factor": self.shift_factor} if self.shift_factor else {}
        return {"scaling_factor": self.scaling_factor, **shift}

    def _split(self, frames: Tensor) -> tuple[Tensor, ...]:
        return frames.split(self.micro_batch_size or len(frames))


@MODELS.register_module("VideoAutoencoderKLTemporalDecoder")
class VideoAutoencoderKLTemporalDecoder(VideoAutoencoderKL):
    """diffusers' AutoencoderKLTemporalDecoder: frames encoded alone, decoded together.

    The decoder looks along time, so a micro batch holds whole videos, at least one.
    Arguments as VideoAutoencoderKL.

    Source: Blattmann et al. 2023, arXiv:2311.15127 (Stable Video Diffusion).
    """

    network: ClassVar[str] = "AutoencoderKLTemporalDecoder"

    def _decode_frames(self, frames: Tensor, num_frames: int) -> Tensor:
        videos = max((self.micro_batch_size or len(frames)) // num_frames, 1)
        parts = frames.split(videos * num_frames)
        return torch.cat([self.module.decode(part, num_frames).sample for part in parts])
