"""Wan: text to video, 2.1 and the transformer of 2.2 5B, which also goes on from given frames.

Axes: B batch, C latent channels, T H W latent size, L text tokens, D text channels.

Source: Wan Team 2025, arXiv:2503.20314.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from opensora.core.errors import ConfigError
from opensora.models.open.family import OpenTransformer, register_family
from opensora.models.open.wan_blocks import LeanBlock, Places, fold_padding, turns_of


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
        for block in self.all_blocks:
            kind = type(block)
            block.__class__ = type(
                kind.__name__, (LeanBlock, kind), {"__module__": kind.__module__}
            )

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
        if self._is_eager_on_cpu(x):
            return self._forward_lean(x, timestep, text).float()
        return network.forward(x, timestep, text, return_dict=False)[0].float()

    def _is_eager_on_cpu(self, x: Tensor) -> bool:
        """Whether operations run one by one and have values, which a compiler and a count lack."""
        compiled = torch.compiler.is_compiling() or any(
            block._compiled_call_impl is not None for block in self.all_blocks
        )
        return x.device.type == "cpu" and not isinstance(x, FakeTensor) and not compiled

    def _forward_lean(self, x: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        """The forward pass by blocks of fewer operations, of texts without most of their padding.

        Args:
            x: [B, C, T, H, W].
            timestep: [B], or of each token [B, N].
            text: [B, L, D].

        Returns:
            [B, C, T, H, W].
        """
        network: Any = self
        text, bias = fold_padding(text)
        places = Places(turns_of(network.rope(x)), bias)
        tokens = network.patch_embedding(x).flatten(2).transpose(1, 2).contiguous()  # [B, N, D]
        length = timestep.shape[1] if timestep.ndim == 2 else None
        time, changes, text, _ = network.condition_embedder(
            timestep.flatten(), text, None, timestep_seq_len=length
        )
        changes = changes.unflatten(-1, (6, -1))  # [B, 6, D] or [B, N, 6, D]
        for block in network.blocks:
            if network.gradient_checkpointing and torch.is_grad_enabled():
                tokens = network._gradient_checkpointing_func(block, tokens, text, changes, places)
            else:
                tokens = block(tokens, text, changes, places)
        table, time = network.scale_shift_table, time.unsqueeze(-2)
        shift, scale = (table + time).unbind(-2)  # [B, D] or [B, N, D]
        if length is None:
            shift, scale = shift[:, None], scale[:, None]
        normed = network.norm_out(tokens.float())
        tokens = network.proj_out(torch.addcmul(shift, normed, 1 + scale).type_as(tokens))
        grid = [side // patch for side, patch in zip(x.shape[2:], self.patch_size, strict=True)]
        out = tokens.view(len(x), *grid, *self.patch_size, -1)
        return out.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)
