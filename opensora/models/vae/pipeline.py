"""The autoencoder of Open-Sora 1.2: frames to latents by an image autoencoder, these along time.

Time is cut into runs of `micro_frame_size` frames, each of which is compressed alone.

Axes: B batch, T frames, H W pixels, C latent channels, t h w latent size, N = B * T frames.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from opensora.config.latent_grid import LatentGrid, grid_of
from opensora.config.registry import MODELS
from opensora.core.errors import CheckpointError, ConfigError
from opensora.core.io import read_json_object
from opensora.models.vae.base import VideoAutoencoder
from opensora.models.vae.temporal import LATENTS, TemporalAutoencoder
from opensora.models.weights.files import read_weights

_FRAMES, _TIME = "spatial_vae.", "temporal_vae."  # as read, without the word "module"
_FRAMES_SCALE = 0.18215  # between the two parts, whatever the image autoencoder was trained with
SHIFT, SCALE = (-0.10, 0.34, 0.27, 0.98), (3.85, 2.32, 2.33, 3.06)


class _Both(nn.Module):
    """The two networks, by the reference's names."""

    def __init__(self, frames: nn.Module, time: TemporalAutoencoder) -> None:
        super().__init__()
        self.spatial_vae: Any = frames
        self.temporal_vae = time

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


@MODELS.register_module("OpenSoraVAE_V1_2")
class OpenSoraVAE(VideoAutoencoder):
    """VideoAutoencoderPipeline of Open-Sora 1.2.

    The widths of both networks are read from the weights. The reference draws from the posterior of
    a frame before it compresses time; here its mean goes on, and only the latents are drawn.

    Args:
        from_pretrained: folder with the reference's `config.json` and weights, or a hub name.
        micro_batch_size: frames of one call of the image autoencoder; None = all at once.
        micro_frame_size: frames that are compressed together; only checked, the folder says it.
        cache_dir: folder of the hub cache; None = the user's.
        local_files_only: take a hub name from the cache alone, never from the network.

    Raises:
        CheckpointError: the folder can not be loaded.
        ConfigError: another `micro_frame_size` than the folder's.

    Source: Zheng et al. 2024, arXiv:2412.20404.
    """

    network: ClassVar[str] = "VideoAutoencoderPipeline"
    out_channels = LATENTS

    def __init__(
        self,
        from_pretrained: str,
        micro_batch_size: int | None = 4,
        micro_frame_size: int | None = None,
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        super().__init__(from_pretrained, micro_batch_size, cache_dir, local_files_only)
        config = read_json_object(self.folder / "config.json")
        self.grid: LatentGrid = grid_of(config, self.network)
        if micro_frame_size not in (None, self.grid.chunk):
            raise ConfigError(
                f"{type(self).__name__}: micro_frame_size is {micro_frame_size} and {self.folder}"
                f" was trained with {self.grid.chunk}; leave it out"
            )
        self.patch_size = self.grid.stride
        self.shift = [float(value) for value in config.get("shift") or SHIFT]
        self.scale = [float(value) for value in config.get("scale") or SCALE]

    def load(self) -> nn.Module:
        """Build both networks by the shapes of their weights."""
        weights = read_weights(self.folder)
        frames = {n.removeprefix(_FRAMES): t for n, t in weights.items() if n.startswith(_FRAMES)}
        time = {n.removeprefix(_TIME): t for n, t in weights.items() if n.startswith(_TIME)}
        try:
            both = _Both(_image_autoencoder(frames), _temporal(time))
            both.spatial_vae.load_state_dict(frames)
            both.temporal_vae.load_state_dict(time)
        except (LookupError, RuntimeError, ValueError) as error:
            said = str(error).strip().splitlines()[0]
            raise CheckpointError(
                f"{self.folder}: holds no weights of Open-Sora 1.2's autoencoder ({said}); give the"
                " folder of OpenSora-VAE-v1.2"
            ) from error
        return both.eval().requires_grad_(False)

    def get_latent_size(self, input_size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Latent (t, h, w) of a video of (T, H, W) frames and pixels; rows are rounded down.

        Raises:
            ConfigError: T is not a number of frames that the grid has; names the nearest.
        """
        frames, height, width = input_size
        self.grid.check_frames(frames, type(self).__name__)
        _, rows, columns = self.patch_size
        return self.grid.latent_frames(frames), height // rows, width // columns

    def identity(self) -> dict[str, Any]:
        """As of every autoencoder, and the runs of frames."""
        return {**super().identity(), "micro_frame_size": self.grid.chunk}

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.get_latent_size((x.shape[2], x.shape[3], x.shape[4]))
        parts = x.transpose(1, 2).flatten(0, 1).split(self._at_once(x))  # [N, 3, H, W]
        means = torch.cat([self.module.spatial_vae.encode(part).latent_dist.mean for part in parts])
        frames = means.unflatten(0, (len(x), -1)).transpose(1, 2) * _FRAMES_SCALE
        runs = [self.module.temporal_vae.encode(run) for run in frames.split(self.grid.chunk, 2)]
        return torch.cat([mean for mean, _ in runs], 2), torch.cat([std for _, std in runs], 2)

    def _decode(self, z: Tensor) -> Tensor:
        run = self.grid.latent_frames(self.grid.chunk or self.grid.frames_of(z.shape[2]))
        frames = torch.cat(
            [
                self.module.temporal_vae.decode(part, self.grid.frames_of(part.shape[2]))
                for part in z.split(run, dim=2)
            ],
            dim=2,
        )
        flat = (frames / _FRAMES_SCALE).transpose(1, 2).flatten(0, 1)
        made = [
            self.module.spatial_vae.decode(part).sample
            for part in flat.split(self._at_once(frames))
        ]
        return torch.cat(made).unflatten(0, (len(z), -1)).transpose(1, 2)

    def _at_once(self, x: Tensor) -> int:
        """Frames of one call for videos [B, C, T, H, W]."""
        return self.micro_batch_size or len(x) * x.shape[2]

    def _scaling(self, z: Tensor) -> tuple[Tensor, Tensor]:
        shift, scale = (
            torch.tensor(v, dtype=torch.float32, device=z.device).view(-1, 1, 1, 1)
            for v in (self.shift, self.scale)
        )
        return shift, 1 / scale

    def _scaling_identity(self) -> dict[str, Any]:
        return {"shift": self.shift, "scale": self.scale}


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the largest number at a place in the names; 0 where there is none."""
    found = [re.match(pattern, name) for name in weights]
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _image_autoencoder(weights: Mapping[str, Tensor]) -> nn.Module:
    """An AutoencoderKL of such weights, without values.

    Raises:
        KeyError: a weight is missing.
    """
    import diffusers

    levels = _count(weights, r"encoder\.down_blocks\.(\d+)\.")
    depth = _count(weights, r"encoder\.down_blocks\.0\.resnets\.(\d+)\.")
    widths = [
        len(weights[f"encoder.down_blocks.{level}.resnets.0.conv2.weight"])
        for level in range(levels)
    ]
    build: Any = diffusers.AutoencoderKL  # whose types are not told
    network: nn.Module = build(
        block_out_channels=widths,
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        layers_per_block=depth,
        latent_channels=LATENTS,
    )
    return network


def _temporal(weights: Mapping[str, Tensor]) -> TemporalAutoencoder:
    """The network along time of such weights, without values.

    Raises:
        KeyError: a weight is missing.
    """
    levels = _count(weights, r"encoder\.block_res_blocks\.(\d+)\.")
    depth = _count(weights, r"encoder\.block_res_blocks\.0\.(\d+)\.")
    names = [f"encoder.block_res_blocks.{i}.0.conv1.conv.weight" for i in range(levels)]
    return TemporalAutoencoder([len(weights[name]) for name in names], depth)
