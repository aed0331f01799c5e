"""LTX-2 and 2.3: text to video, by the video branch of a network that also makes sound.

Axes: B batch, C latent channels, T H W latent size, L text tokens, D text channels.

Source: HaCohen et al. 2026, arXiv:2601.03233.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from opensora.core.errors import ConfigError
from opensora.models.open.family import OpenTransformer, register_family

# in the names of weights that are of sound, or carry it into the picture
_SOUND = ("audio", "av_cross_attn", "a2v", "v2a")


@register_family("LTX2VideoTransformer3DModel")
class LTX2(OpenTransformer):
    """diffusers' LTX2VideoTransformer3DModel; predicts noise minus data of the picture.

    Its two branches are told to be apart, as its own pipeline does for one term of its guidance: no
    clip has sound here. The weights of sound are kept as they are.
    """

    text_encoder_type: ClassVar[str] = "gemma-ltx2"

    def settle(self) -> None:
        """Set the attributes from `config`.

        Raises:
            ConfigError: patches of several latent values, or a later model.
        """
        config: Any = self.config
        sides, modulates = (config.patch_size_t, config.patch_size), config.use_prompt_adaln_single
        if sides != (1, 1) or not modulates:
            raise ConfigError(
                f"model: this LTX-2 has patches of {sides} and use_prompt_adaln_single {modulates};"
                " give LTX-2 or 2.3, with patches of (1, 1) and True"
            )
        self.in_channels, self.out_channels = int(config.in_channels), int(config.out_channels)
        self.patch_size = (1, 1, 1)
        has_projection = config.use_prompt_embeddings
        width = config.caption_channels if has_projection else config.cross_attention_dim
        self.caption_channels = int(width)
        # nothing that is read follows from them, and workers that average gradients wait for those
        # of each weight that is trained
        for name, weight in self.named_parameters():
            if any(part in name for part in _SOUND):
                weight.requires_grad_(False)

    @property
    def x_embedder(self) -> nn.Module:
        """What embeds the tokens."""
        return self.get_submodule("proj_in")

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        y: Tensor,
        mask: Tensor,
        *,
        fps: Tensor,
        **_: Tensor | None,
    ) -> Tensor:
        """Predict noise minus data.

        Args:
            x: noised latents [B, C, T, H, W].
            timestep: [B] in [0, 1000].
            y: text embeddings [B, 1, L, D].
            mask: [B, L], nonzero = token of the text.
            fps: [B] frames per second.
            **_: conditions of other models.

        Returns:
            [B, C, T, H, W] float32.
        """
        x, text = x.to(self.dtype), y[:, 0].to(self.dtype)
        B, size, config = len(x), x.shape[2:], self.config
        network: Any = super()
        own: Any = self
        places = own.rope.prepare_video_coords(B, *size, x.device, fps=1.0)  # [B, 3, S, 2]
        places[:, 0] = places[:, 0] / fps.view(-1, 1, 1)
        # one token without sound, which no token of the picture reads
        channels = config.caption_channels
        if not config.use_prompt_embeddings:
            channels = config.audio_cross_attention_dim
        output = network.forward(
            x.flatten(2).transpose(1, 2),  # [B, T H W, C]
            x.new_zeros(B, 1, config.audio_in_channels),
            text,
            text.new_zeros(B, 1, channels),
            timestep,
            sigma=timestep,
            encoder_attention_mask=mask,
            audio_encoder_attention_mask=torch.ones_like(mask[:, :1]),
            video_coords=places,
            audio_num_frames=1,
            isolate_modalities=True,
            return_dict=False,
        )[0]
        return output.transpose(1, 2).unflatten(2, size).float()  # type: ignore[no-any-return]
