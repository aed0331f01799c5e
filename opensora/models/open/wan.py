"""Wan: text to video, 2.1 and the transformer of 2.2 5B, which also goes on from given frames.

Axes: B batch, C latent channels, T H W latent size, L text tokens, D text channels.

Source: Wan Team 2025, arXiv:2503.20314.
"""

from typing import Any, ClassVar

from torch import Tensor, nn

from opensora.core.errors import ConfigError
from opensora.models.open.family import OpenTransformer, register_family


@register_family("WanTransformer3DModel")
class Wan(OpenTransformer):
    """diffusers' WanTransformer3DModel; predicts noise minus data, of captions read by UMT5.

    Captions are not masked: beyond its end an embedding is zero, as the family was trained. Given
    frames are tokens of timestep 0, as Wan 2.2 5B was trained with the first frame.
    """

    text_encoder_type: ClassVar[str] = "umt5"
    keeps_frames: ClassVar[bool] = True

    def settle(self) -> None:
        """Set the attributes from `config`.

        Raises:
            ConfigError: a model that also reads a picture.
        """
        config: Any = self.config
        if config.image_dim is not None or config.in_channels != config.out_channels:
            raise ConfigError(
                f"model: this Wan reads {config.in_channels} channels and predicts"
                f" {config.out_channels}: it makes videos of a picture, which is not known here;"
                " give one that makes them of text"
            )
        self.in_channels, self.out_channels = int(config.in_channels), int(config.out_channels)
        patch_t, patch_h, patch_w = config.patch_size
        self.patch_size = (int(patch_t), int(patch_h), int(patch_w))
        self.caption_channels = int(config.text_dim)

    @property
    def x_embedder(self) -> nn.Module:
        """What embeds the patches."""
        return self.get_submodule("patch_embedding")

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        y: Tensor,
        x_mask: Tensor | None = None,
        **_: Tensor | None,
    ) -> Tensor:
        """Predict noise minus data.

        Args:
            x: noised latents [B, C, T, H, W]; H and W are whole patches.
            timestep: [B] in [0, 1000].
            y: text embeddings [B, 1, L, D], zero beyond each caption.
            x_mask: bool [B, T], True = noised frame; None = all are.
            **_: conditions of other models.

        Returns:
            [B, C, T, H, W] float32.

        Raises:
            ConfigError: latents that are not whole patches.
        """
        self.check_size(x)
        network: Any = super()
        x = x.to(self.dtype)
        text = y[:, 0].to(x.dtype)
        if x_mask is not None:
            timestep = self.of_tokens(timestep, x_mask, x)
        return network.forward(x, timestep, text, return_dict=False)[0].float()
