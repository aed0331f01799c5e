"""HunyuanVideo 1.5: text to video.

Axes: B batch, C latent channels, T H W latent size, L text tokens, D text channels.

Source: Hunyuan Foundation Model Team 2025, arXiv:2511.18870.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from opensora.core.errors import ConfigError
from opensora.models.open.family import OpenTransformer, register_family


@register_family("HunyuanVideo15Transformer3DModel")
class HunyuanVideo15(OpenTransformer):
    """diffusers' HunyuanVideo15Transformer3DModel; predicts noise minus data.

    Its captions are read by two encoders, whose rows stand in one text: see `HunyuanTextEncoder`.
    """

    text_encoder_type: ClassVar[str] = "qwen-hunyuan"

    def settle(self) -> None:
        """Set the attributes from `config`.

        Raises:
            ConfigError: a model that starts from a picture, or one of few steps.
        """
        config: Any = self.config
        if config.task_type != "t2v" or config.use_meanflow:
            raise ConfigError(
                f"model: this HunyuanVideo has task_type {config.task_type!r} and use_meanflow"
                f" {config.use_meanflow}; only those that make videos of text in many steps are"
                " known here, give one of task_type 't2v'"
            )
        self.in_channels = self.out_channels = int(config.out_channels)
        side = int(config.patch_size)
        self.patch_size = (int(config.patch_size_t), side, side)
        self.caption_channels = max(config.text_embed_dim, config.text_embed_2_dim) + 1
        # what the last block makes of the text is read by nobody, and workers that average
        # gradients wait for those of each weight that is trained
        last: Any = self.all_blocks[-1]
        for idle in (last.attn.to_add_out, last.ff_context):
            idle.requires_grad_(False)

    @property
    def x_embedder(self) -> nn.Module:
        """What embeds the patches."""
        return self._modules["x_embedder"]  # type: ignore[return-value]

    def forward(
        self, x: Tensor, timestep: Tensor, y: Tensor, mask: Tensor, **_: Tensor | None
    ) -> Tensor:
        """Predict noise minus data.

        Args:
            x: noised latents [B, C, T, H, W].
            timestep: [B] in [0, 1000].
            y: text embeddings [B, 1, L, D] of both encoders; the last channel is 1 in rows of ByT5.
            mask: [B, L], nonzero = row of a text.
            **_: conditions of other models.

        Returns:
            [B, C, T, H, W] float32.

        Raises:
            ConfigError: latents that are not whole patches.
        """
        self.check_size(x)
        x = x.to(self.dtype)
        # what is padding everywhere would be computed for nothing; of what has no values, none is
        used = mask.shape[1] if isinstance(mask, FakeTensor) else int(mask.sum(1).max())
        rows, text_mask = y[:, 0, :used].to(x.dtype), mask[:, :used].bool()
        quoted = text_mask & (rows[..., -1] > 0.5)
        config: Any = self.config
        network: Any = super()
        output = network.forward(
            torch.cat([x, torch.zeros_like(x), torch.zeros_like(x[:, :1])], 1),  # no given frames
            timestep.to(x.dtype),  # as its pipeline: what embeds it computes in the type of this
            rows[..., : config.text_embed_dim],
            text_mask & ~quoted,
            encoder_hidden_states_2=rows[..., : config.text_embed_2_dim],
            encoder_attention_mask_2=quoted,
            image_embeds=x.new_zeros(len(x), 1, config.image_embed_dim),  # no picture: masked
            return_dict=False,
        )
        return output[0].float()  # type: ignore[no-any-return]
