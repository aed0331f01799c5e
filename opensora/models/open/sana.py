"""SANA-Video: text to video, on the latents of Wan's autoencoder.

Axes: B batch, C latent channels, T H W latent size, L text tokens, D text channels.

Source: Chen et al. 2025, arXiv:2509.24695.
"""

from typing import Any, ClassVar

from torch import Tensor, nn

from opensora.models.open.family import OpenTransformer, register_family


@register_family("SanaVideoTransformer3DModel")
class SanaVideo(OpenTransformer):
    """diffusers' SanaVideoTransformer3DModel; predicts noise minus data, of captions read by Gemma.

    Its attention between places is linear, so a video of twice the length takes twice the time.
    """

    text_encoder_type: ClassVar[str] = "gemma-sana"

    def settle(self) -> None:
        """Set the attributes from `config`."""
        config: Any = self.config
        self.in_channels, self.out_channels = int(config.in_channels), int(config.out_channels)
        patch_t, patch_h, patch_w = config.patch_size
        self.patch_size = (int(patch_t), int(patch_h), int(patch_w))
        self.caption_channels = int(config.caption_channels)

    @property
    def x_embedder(self) -> nn.Module:
        """What embeds the patches."""
        return self.get_submodule("patch_embedding")

    def forward(
        self, x: Tensor, timestep: Tensor, y: Tensor, mask: Tensor, **_: Tensor | None
    ) -> Tensor:
        """Predict noise minus data.

        Args:
            x: noised latents [B, C, T, H, W]; H and W are whole patches.
            timestep: [B] in [0, 1000].
            y: text embeddings [B, 1, L, D].
            mask: [B, L], nonzero = token of the text.
            **_: conditions of other models.

        Returns:
            [B, C, T, H, W] float32.

        Raises:
            ConfigError: latents that are not whole patches.
        """
        self.check_size(x)
        network: Any = super()
        x = x.to(self.dtype)
        output = network.forward(
            x, y[:, 0].to(x.dtype), timestep, encoder_attention_mask=mask, return_dict=False
        )
        return output[0].float()  # type: ignore[no-any-return]
