"""What all video autoencoders share: folders, posteriors, scaling, noise.

Axes: B batch, T frames, H W pixels, C latent channels, t h w latent size.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from opensora.models.weights.folders import resolve_folder, weights_sha256
from opensora.models.weights.pretrained import load_network

POSTERIORS = ("sample", "mean", "moments")
Generators = torch.Generator | Sequence[torch.Generator]


class VideoAutoencoder(nn.Module, ABC):
    """An autoencoder of diffusers behind one interface; subclasses say how it is called.

    Latents are scaled: (raw - shift) * scale, per channel.

    Attributes:
        module: the network of diffusers.
        out_channels: C.
        patch_size: pixels of one latent value, (T, H, W).
        micro_batch_size: frames per call; None = all at once. May be changed at any time, it
            decides memory and speed only.

    Args:
        from_pretrained: folder in the diffusers format (safetensors), of the network or of a
            pipeline that holds it, or a hub name.
        micro_batch_size: frames per call.
        cache_dir: folder of the hub cache; None = the user's.
        local_files_only: take a hub name from the cache alone, never from the network.

    Raises:
        CheckpointError: the folder can not be loaded.
    """

    network: ClassVar[str]  # class in diffusers
    out_channels: int
    patch_size: tuple[int, int, int]

    def __init__(
        self,
        from_pretrained: str,
        micro_batch_size: int | None = None,
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        super().__init__()
        if micro_batch_size is not None and micro_batch_size < 1:
            raise ValueError(f"micro_batch_size is {micro_batch_size}, expected at least 1")
        self.micro_batch_size = micro_batch_size
        kind = type(self).__name__
        self.folder = resolve_folder(
            from_pretrained,
            kind=kind,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            part="vae",
        )
        self.module: Any = self.load()

    def load(self) -> nn.Module:
        """The network of the folder; of diffusers unless a subclass says otherwise."""
        # The registry imports this module for every model, and diffusers takes seconds.
        import diffusers

        load = getattr(diffusers, self.network).from_pretrained
        found: nn.Module = load_network(
            load, self.folder, kind=type(self).__name__, use_safetensors=True
        )
        return found

    @torch.no_grad()
    def encode(
        self, x: Tensor, *, generator: Generators | None = None, posterior: str = "sample"
    ) -> Tensor:
        """Encode videos.

        With one generator per sample, a sample gets the noise it would get alone: what is in a
        batch together, and in which order, decides nothing. The same latents come from "moments"
        and `sample_moments` with the same generators. Neither depends on micro_batch_size.

        Args:
            x: [B, 3, T, H, W] in [-1, 1].
            generator: source of the noise of "sample", on its own device: one for the batch, or
                one for each of the B samples. None = torch's global source.
            posterior: "sample" draws from the posterior, "mean" takes its mean, "moments" gives
                mean and standard deviation, to draw later.

        Returns:
            [B, C, t, h, w] scaled latents, dtype of the weights; for "moments" [B, 2 C, t, h, w],
            the scaled mean before the scaled standard deviation.

        Raises:
            ConfigError: a video whose size the network can not take.
        """
        if posterior not in POSTERIORS:
            raise ValueError(f"posterior is {posterior!r}, expected one of {', '.join(POSTERIORS)}")
        mean, std = self._posterior(x.to(self.module.dtype))  # [B, C, t, h, w] each, unscaled
        shift, scale = self._scaling(mean)
        mean, std = (mean - shift) * scale, std * scale
        if posterior == "mean":
            return mean.to(self.module.dtype)
        moments = torch.cat((mean, std), dim=1).to(self.module.dtype)
        return moments if posterior == "moments" else sample_moments(moments, generator)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Decode scaled latents [B, C, t, h, w] to videos [B, 3, T, H, W], about [-1, 1]."""
        shift, scale = self._scaling(z)
        return self._decode((z / scale + shift).to(self.module.dtype))

    def get_latent_size(self, input_size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Latent (t, h, w) of a video of (T, H, W) frames and pixels, rounded down."""
        t, h, w = (n // p for n, p in zip(input_size, self.patch_size, strict=True))
        return t, h, w

    def identity(self) -> dict[str, Any]:
        """What decides the latents: stored with them, compared before they are used."""
        return {
            "type": type(self).__name__,
            "weights": weights_sha256(self.folder),
            "out_channels": self.out_channels,
            "patch_size": list(self.patch_size),
            **self._scaling_identity(),
        }

    @abstractmethod
    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Unscaled mean and standard deviation [B, C, t, h, w] of videos [B, 3, T, H, W]."""

    @abstractmethod
    def _decode(self, z: Tensor) -> Tensor:
        """Videos [B, 3, T, H, W] of unscaled latents [B, C, t, h, w]."""

    @abstractmethod
    def _scaling(self, z: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Shift and scale, numbers or float32 tensors that broadcast over z [B, C, t, h, w]."""

    @abstractmethod
    def _scaling_identity(self) -> dict[str, Any]:
        """The scaling as it stands in `identity`."""


def sample_moments(moments: Tensor, generator: Generators | None = None) -> Tensor:
    """Draw latents: mean + std * noise.

    The noise of a sample is drawn latent frame by latent frame.

    Args:
        moments: [B, 2 C, t, h, w] from `encode(..., posterior="moments")`.
        generator: one for the batch, or one for each of the B samples, each on its own device;
            None = torch's global source.

    Returns:
        [B, C, t, h, w], dtype and device of moments.

    Raises:
        ValueError: another number of generators than samples.
    """
    mean, std = moments.chunk(2, dim=1)
    frames = mean.transpose(1, 2).shape  # [B, t, C, h, w]
    if generator is None or isinstance(generator, torch.Generator):
        device = mean.device if generator is None else generator.device
        noise = torch.randn(frames, generator=generator, device=device).to(mean)
    else:
        if len(generator) != len(mean):
            raise ValueError(f"{len(generator)} generators for {len(mean)} samples")
        noise = torch.stack(
            [torch.randn(frames[1:], generator=g, device=g.device).to(mean) for g in generator]
        )
    return mean + std * noise.transpose(1, 2)
