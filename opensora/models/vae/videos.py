"""Video autoencoders of diffusers that compress time as well, one class a family.

All are causal: the first frame becomes one latent frame, each further group of s = `patch_size[0]`
frames one more, so a video has 1, 1 + s, 1 + 2 s, ... frames (CogVideoX: 1, 1 + 2 s, 1 + 4 s, ...).

Axes: B batch, T frames, H W pixels, C latent channels, t h w latent size.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from opensora.config.latent_grid import LatentGrid, grid_of
from opensora.config.registry import MODELS
from opensora.core.errors import ConfigError
from opensora.core.seed import derive_seed
from opensora.models.vae.base import VideoAutoencoder


class CausalVideoAutoencoder(VideoAutoencoder):
    """Base of the autoencoders along time; subclasses read the folder's config.

    Args:
        from_pretrained: folder in the diffusers format (safetensors), or a hub name.
        micro_batch_size: frames per call, to save memory; whole videos, at least one. None = all
            at once.
        tiling: encode and decode large frames in overlapping tiles, as diffusers does. Saves
            memory and changes the latents a little, so it is part of the identity.
        cache_dir: folder of the hub cache; None = the user's.
        local_files_only: take a hub name from the cache alone, never from the network.

    Raises:
        CheckpointError: the folder can not be loaded.
    """

    def __init__(
        self,
        from_pretrained: str,
        micro_batch_size: int | None = None,
        tiling: bool = False,
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        super().__init__(from_pretrained, micro_batch_size, cache_dir, local_files_only)
        self.tiling = tiling
        if tiling:
            self.module.enable_tiling()
        self.grid: LatentGrid = grid_of(self.module.config, self.network)
        self.patch_size = self.grid.stride
        self.read_config(self.module.config)

    @abstractmethod
    def read_config(self, config: Any) -> None:
        """Set `out_channels` and what `_scaling` needs."""

    def get_latent_size(self, input_size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Latent (t, h, w) of a video of (T, H, W) frames and pixels.

        Raises:
            ConfigError: T is not a number of frames that the grid has, or H or W is not a multiple
                of the stride in space; names the nearest that is.
        """
        stride, name, frames = self.patch_size, type(self).__name__, input_size[0]
        self.grid.check_frames(frames, name)
        for side, pixels, step in zip(("height", "width"), input_size[1:], stride[1:], strict=True):
            if pixels % step:
                raise ConfigError(
                    f"{name}: {side} {pixels}, expected a multiple of {step};"
                    f" use {max(round(pixels / step), 1) * step}"
                )
        return (frames - 1) // stride[0] + 1, input_size[1] // stride[1], input_size[2] // stride[2]

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.get_latent_size((x.shape[2], x.shape[3], x.shape[4]))
        parts = [self.module.encode(part).latent_dist for part in self._split(x, x.shape[2])]
        return torch.cat([part.mean for part in parts]), torch.cat([part.std for part in parts])

    def _decode(self, z: Tensor) -> Tensor:
        frames = (z.shape[2] - 1) * self.patch_size[0] + 1
        return torch.cat([self._decode_videos(part) for part in self._split(z, frames)])

    def _decode_videos(self, z: Tensor) -> Tensor:
        """One micro batch of unscaled latents to videos."""
        return self.module.decode(z).sample

    def _split(self, videos: Tensor, num_frames: int) -> tuple[Tensor, ...]:
        """Micro batches of whole videos of so many frames."""
        return videos.split(
            max((self.micro_batch_size or len(videos) * num_frames) // num_frames, 1)
        )

    def identity(self) -> dict[str, Any]:
        """As of every autoencoder, and whether it works in tiles."""
        return {**super().identity(), "tiling": self.tiling}


@MODELS.register_module("CogVideoXVAE")
class CogVideoXVAE(CausalVideoAutoencoder):
    """diffusers' AutoencoderKLCogVideoX. Arguments as CausalVideoAutoencoder.

    Its decoder takes an odd number of latent frames: an even number it would stretch as if there
    were no first frame, and give more frames back than were encoded.

    Source: Yang et al. 2024, arXiv:2408.06072.
    """

    network: ClassVar[str] = "AutoencoderKLCogVideoX"

    def read_config(self, config: Any) -> None:
        """One factor for all channels."""
        self.out_channels = int(config["latent_channels"])
        self.scaling_factor = float(config["scaling_factor"])
        self.shift_factor = float(config.get("shift_factor") or 0)

    def _scaling(self, z: Tensor) -> tuple[float, float]:
        return self.shift_factor, self.scaling_factor

    def _scaling_identity(self) -> dict[str, Any]:
        return {"scaling_factor": self.scaling_factor, "shift_factor": self.shift_factor}


@MODELS.register_module("HunyuanVideo15VAE")
class HunyuanVideo15VAE(CogVideoXVAE):
    """diffusers' AutoencoderKLHunyuanVideo15. Arguments as CausalVideoAutoencoder.

    Source: Hunyuan Foundation Model Team 2025, arXiv:2511.18870.
    """

    network: ClassVar[str] = "AutoencoderKLHunyuanVideo15"

    def read_config(self, config: Any) -> None:
        """One factor for all channels."""
        super().read_config(config)
        self.module.use_slicing = True  # diffusers' attention between places takes one video alone


class ChannelScaledAutoencoder(CausalVideoAutoencoder):
    """Base of those that normalise each channel: (raw - mean) / std * factor.

    Attributes:
        latents_mean: C numbers.
        latents_std: C numbers.
        scaling_factor: of all channels.
    """

    latents_mean: list[float]
    latents_std: list[float]
    scaling_factor: float = 1.0

    def _scaling(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.tensor(self.latents_mean, dtype=torch.float32, device=z.device)
        std = torch.tensor(self.latents_std, dtype=torch.float32, device=z.device)
        return mean.view(-1, 1, 1, 1), (self.scaling_factor / std).view(-1, 1, 1, 1)

    def _scaling_identity(self) -> dict[str, Any]:
        names = ("latents_mean", "latents_std", "scaling_factor")
        return {name: getattr(self, name) for name in names}


@MODELS.register_module("LTXVideoVAE")
class LTXVideoVAE(ChannelScaledAutoencoder):
    """diffusers' AutoencoderKLLTXVideo. Arguments as CausalVideoAutoencoder.

    A decoder that takes a timestep gets 0, no noise left. One that adds noise of its own
    gets the same noise each time.

    Source: HaCohen et al. 2024, arXiv:2501.00103.
    """

    network: ClassVar[str] = "AutoencoderKLLTXVideo"

    def read_config(self, config: Any) -> None:
        """Statistics of the channels from the network's buffers."""
        self.out_channels = int(config["latent_channels"])
        self.scaling_factor = float(config["scaling_factor"])
        self.latents_mean = self.module.latents_mean.float().tolist()
        self.latents_std = self.module.latents_std.float().tolist()

    def _decode_videos(self, z: Tensor) -> Tensor:
        config = self.module.config
        timestep = z.new_zeros(len(z)) if config["timestep_conditioning"] else None
        if not any(config["decoder_inject_noise"]):
            return self.module.decode(z, timestep).sample
        # the noise comes from the global source of the device, which is put back afterwards
        source = torch.cuda.default_generators[z.device.index] if z.is_cuda else None
        with torch.random.fork_rng([z.device] if z.is_cuda else []):
            (source or torch.default_generator).manual_seed(derive_seed("LTXVideoVAE", "decoder"))
            return self.module.decode(z, timestep).sample


@MODELS.register_module("LTX2VideoVAE")
class LTX2VideoVAE(LTXVideoVAE):
    """diffusers' AutoencoderKLLTX2Video. Arguments as CausalVideoAutoencoder.

    Source: HaCohen et al. 2026, arXiv:2601.03233.
    """

    network: ClassVar[str] = "AutoencoderKLLTX2Video"


@MODELS.register_module("WanVAE")
class WanVAE(ChannelScaledAutoencoder):
    """diffusers' AutoencoderKLWan. Arguments as CausalVideoAutoencoder.

    Source: Wan Team 2025, arXiv:2503.20314.
    """

    network: ClassVar[str] = "AutoencoderKLWan"

    def read_config(self, config: Any) -> None:
        """Statistics of the channels from the config."""
        self.out_channels = int(config["z_dim"])
        self.latents_mean = [float(value) for value in config["latents_mean"]]
        self.latents_std = [float(value) for value in config["latents_std"]]
