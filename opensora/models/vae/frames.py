"""Image autoencoders of diffusers applied to the frames of a video.

Axes: B batch, T frames, H W pixels, C latent channels, h w latent size, N = B * T frames.
"""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from opensora.core.registry import MODELS
from opensora.models.pretrained import load_network, resolve_folder, weights_sha256

DEFAULT_SCALING_FACTOR = 0.18215  # of Stable Diffusion 1.x, where a config does not say


@MODELS.register_module("VideoAutoencoderKL")
class VideoAutoencoderKL(nn.Module):
    """diffusers' AutoencoderKL, frame by frame.

    Attributes:
        out_channels: C.
        patch_size: pixels of one latent value, (T, H, W).

    Args:
        from_pretrained: folder in the diffusers format (safetensors), or a hub name.
        micro_batch_size: frames per call, to save memory; None = all at once.
        scaling_factor: latents are multiplied by it; None = what the folder says.

    Raises:
        CheckpointError: the folder can not be loaded.
    """

    network: ClassVar[str] = "AutoencoderKL"  # class in diffusers

    def __init__(
        self,
        from_pretrained: str,
        micro_batch_size: int | None = None,
        scaling_factor: float | None = None,
    ) -> None:
        # The registry imports this module for every model, and diffusers takes seconds.
        import diffusers

        super().__init__()
        if micro_batch_size is not None and micro_batch_size < 1:
            raise ValueError(f"micro_batch_size is {micro_batch_size}, expected at least 1")
        kind = type(self).__name__
        self.folder = resolve_folder(from_pretrained, kind=kind)
        load = getattr(diffusers, self.network).from_pretrained
        self.module: Any = load_network(load, self.folder, kind=kind, use_safetensors=True)
        config = self.module.config
        self.micro_batch_size = micro_batch_size
        self.scaling_factor = float(
            scaling_factor or config.get("scaling_factor") or DEFAULT_SCALING_FACTOR
        )
        self.out_channels = int(config["latent_channels"])
        stride = 2 ** (len(config["block_out_channels"]) - 1)
        self.patch_size = (1, stride, stride)

    @torch.no_grad()
    def encode(
        self,
        x: Tensor,
        *,
        generator: torch.Generator | None = None,
        posterior: Literal["sample", "mean"] = "sample",
    ) -> Tensor:
        """Encode videos.

        Args:
            x: [B, 3, T, H, W] in [-1, 1].
            generator: source of the noise of "sample", on its own device; the result does not
                depend on micro_batch_size.
            posterior: draw from the posterior, or take its mean.

        Returns:
            [B, C, T, h, w] scaled latents, dtype of the weights.
        """
        if posterior not in ("sample", "mean"):
            raise ValueError(f"posterior is {posterior!r}, expected 'sample' or 'mean'")
        B, _, T = x.shape[:3]
        frames = x.to(self.module.dtype).transpose(1, 2).flatten(0, 1)  # [N, 3, H, W]
        parts = [self.module.encode(part).latent_dist for part in self._split(frames)]
        z = torch.cat([part.mean for part in parts])  # [N, C, h, w]
        if posterior == "sample":
            device = generator.device if generator is not None else z.device
            noise = torch.randn(z.shape, generator=generator, device=device).to(z)
            z = z + torch.cat([part.std for part in parts]) * noise
        return (z * self.scaling_factor).unflatten(0, (B, T)).transpose(1, 2)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Decode scaled latents [B, C, T, h, w] to videos [B, 3, T, H, W], about [-1, 1]."""
        B, _, T = z.shape[:3]
        frames = (z / self.scaling_factor).to(self.module.dtype).transpose(1, 2).flatten(0, 1)
        return self._decode(frames, T).unflatten(0, (B, T)).transpose(1, 2)

    def get_latent_size(self, input_size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Latent (t, h, w) of a video of (T, H, W) frames and pixels, rounded down."""
        t, h, w = (n // p for n, p in zip(input_size, self.patch_size, strict=True))
        return t, h, w

    def identity(self) -> dict[str, Any]:
        """What decides the latents: stored with them, compared before they are used."""
        return {
            "type": type(self).__name__,
            "weights": weights_sha256(self.folder),
            "scaling_factor": self.scaling_factor,
            "out_channels": self.out_channels,
            "patch_size": list(self.patch_size),
        }

    def _decode(self, frames: Tensor, num_frames: int) -> Tensor:
        """Unscaled latents [N, C, h, w] to frames [N, 3, H, W]."""
        return torch.cat([self.module.decode(part).sample for part in self._split(frames)])

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

    def _decode(self, frames: Tensor, num_frames: int) -> Tensor:
        videos = max((self.micro_batch_size or len(frames)) // num_frames, 1)
        parts = frames.split(videos * num_frames)
        return torch.cat([self.module.decode(part, num_frames).sample for part in parts])
