"""CogVideoX 1.0: text to video, 2B and 5B.

Axes: B batch, C latent channels, T H W latent size, L text tokens, D text channels.

Source: Yang et al. 2024, arXiv:2408.06072.
"""

from typing import Any, ClassVar

from torch import Tensor, nn

from opensora.core.errors import ConfigError
from opensora.models.open.family import OpenTransformer, register_family


@register_family("CogVideoXTransformer3DModel")
class CogVideoX(OpenTransformer):
    """diffusers' CogVideoXTransformer3DModel; predicts v, of captions read by T5.

    Captions are not masked: padding is text. Places are added to tokens (2B) or turned into keys
    and queries (5B), at other sizes than the trained one as diffusers' pipeline does.
    """

    text_encoder_type: ClassVar[str] = "t5-cogvideox"

    def settle(self) -> None:
        """Set the attributes from `config`.

        Raises:
            ConfigError: a model that also reads a picture, or CogVideoX 1.5.
        """
        config: Any = self.config
        if config.in_channels != config.out_channels:
            raise ConfigError(
                f"model: this CogVideoX reads {config.in_channels} channels and predicts"
                f" {config.out_channels}: it makes videos of a picture, which is not known here;"
                " give one that makes them of text"
            )
        if config.patch_size_t is not None:
            raise ConfigError(
                f"model: this CogVideoX has patches of {config.patch_size_t} latent frames, as 1.5,"
                " which is not known here; give CogVideoX-2b or CogVideoX-5b"
            )
        self.in_channels, self.out_channels = int(config.in_channels), int(config.out_channels)
        self.patch_size = (1, int(config.patch_size), int(config.patch_size))
        self.caption_channels = int(config.text_embed_dim)

    @property
    def x_embedder(self) -> nn.Module:
        """What embeds the patches."""
        return self.get_submodule("patch_embed")

    def forward(self, x: Tensor, timestep: Tensor, y: Tensor, **_: Tensor | None) -> Tensor:
        """Predict v.

        Args:
            x: noised latents [B, C, T, H, W]; H and W are whole patches.
            timestep: [B] in 0 .. 999.
            y: text embeddings [B, 1, L, D].
            **_: conditions of other models.

        Returns:
            [B, C, T, H, W] float32.

        Raises:
            ConfigError: latents that are not whole patches, or texts of another length.
        """
        self.check_size(x)
        length = self.config.max_text_seq_length
        if y.shape[2] != length:
            raise ConfigError(
                f"model: CogVideoX reads texts of {length} tokens and these have {y.shape[2]}; set"
                f" text_encoder.model_max_length (encode.max_length of a workflow) to {length}"
            )
        network: Any = super()
        x = x.to(self.dtype)
        output = network.forward(
            x.transpose(1, 2),  # [B, T, C, H, W]
            y[:, 0].to(x.dtype),
            timestep,
            image_rotary_emb=self._places(x),
            return_dict=False,
        )[0]
        return output.transpose(1, 2).float()  # type: ignore[no-any-return]

    def _places(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Cosine and sine of each token's place, [T H W / 4, channels of a head]; 2B has none."""
        config: Any = self.config
        if not config.use_rotary_positional_embeddings:
            return None
        from diffusers.models.embeddings import get_3d_rotary_pos_embed  # takes seconds

        grid = x.shape[3] // self.patch_size[1], x.shape[4] // self.patch_size[2]
        trained = (
            config.sample_height // self.patch_size[1],
            config.sample_width // self.patch_size[2],
        )
        places: Any = get_3d_rotary_pos_embed(
            embed_dim=config.attention_head_dim,
            crops_coords=centred(grid, trained),
            grid_size=grid,
            temporal_size=x.shape[2],
            device=x.device,
        )
        return places  # type: ignore[no-any-return]


def centred(
    grid: tuple[int, int], trained: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Corners of the largest region with the shape of `grid` in the middle of the trained one.

    Args:
        grid: rows and columns of tokens.
        trained: those of the size that the model was trained with.

    Returns:
        Top and left, bottom and right.
    """
    scale = min(side / own for side, own in zip(trained, grid, strict=True))
    sizes = [round(own * scale) for own in grid]
    top, left = (round((side - size) / 2) for side, size in zip(trained, sizes, strict=True))
    return (top, left), (top + sizes[0], left + sizes[1])
