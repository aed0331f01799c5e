"""Wan: text to video, 2.1 and the transformer of 2.2 5B; from given frames, 2.1 and 2.2.

Axes: B batch, C latent channels, T H W latent size, L text tokens, D text channels, n given
pictures, P tokens of one.

Source: Wan Team 2025, arXiv:2503.20314.
"""

from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from opensora.config.given_frames import FIRST, FIRST_LAST
from opensora.core.errors import ConfigError
from opensora.models.open.family import OpenTransformer, register_family
from opensora.models.open.pictures import GIVEN, NUM_GIVEN, PICTURE, mark_given
from opensora.models.open.wan_blocks import LeanBlock, Places, fold_padding, turns_of

_TEXT = 512  # tokens behind those of pictures, by which diffusers' attention tells them apart
_PICTURE = 257  # tokens of a picture, of the CLIP that the family reads


@register_family("WanTransformer3DModel")
class Wan(OpenTransformer):
    """diffusers' WanTransformer3DModel; predicts noise minus data, of captions read by UMT5.

    Captions are not masked: beyond its end an embedding is zero, as the family was trained.

    Frames are given in two ways. A model with as many channels in as out may keep some, as tokens
    of timestep 0; Wan 2.2 5B was trained so with the first one. One with more reads the latents of
    a video that shows the given frames alone, and marks of them, beside the noise; Wan 2.1 also
    reads what CLIP says of them.
    """

    text_encoder_type: ClassVar[str] = "umt5"

    def settle(self) -> None:
        """Set the attributes from `config`.

        Raises:
            ConfigError: a model with other inputs than these.
        """
        config: Any = self.config
        self.in_channels = self.out_channels = int(config.out_channels)
        self.marks = int(config.in_channels) - 2 * self.out_channels  # channels
        self.reads_pictures = config.image_dim is not None
        self.keeps_frames = config.in_channels == config.out_channels and not self.reads_pictures
        if not self.keeps_frames:
            if self.marks < 1:
                raise ConfigError(
                    f"model: this Wan reads {config.in_channels} channels and predicts"
                    f" {config.out_channels}, which is not known here; give one that makes videos"
                    " of text, or of given frames"
                )
            both = config.pos_embed_seq_len is not None
            self.given_modes = (FIRST_LAST,) if both else (FIRST,)
            if not self.reads_pictures:
                self.given_modes = (FIRST, FIRST_LAST)
        patch_t, patch_h, patch_w = config.patch_size
        self.patch_size = (int(patch_t), int(patch_h), int(patch_w))
        self.caption_channels = int(config.text_dim)
        for block in self.all_blocks:
            kind: Any = type(block)
            block.__class__ = _lean(kind)

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
        given: Tensor | None = None,
        num_given: Tensor | None = None,
        picture: Tensor | None = None,
        **_: Tensor | None,
    ) -> Tensor:
        """Predict noise minus data.

        Args:
            x: noised latents [B, C, T, H, W]; H and W are whole patches.
            timestep: [B] in [0, 1000].
            y: text embeddings [B, 1, L, D], zero beyond each caption.
            x_mask: bool [B, T], True = noised frame; None = all are.
            given: latents of the given frames [B, C, T, H, W], where the model reads them.
            num_given: [B], 1 = the first frame is given, 2 = the last one as well.
            picture: CLIP's embeddings of them [B, n, P, channels], where it reads these.
            **_: conditions of other models.

        Returns:
            [B, C, T, H, W] float32.

        Raises:
            ConfigError: latents that are not whole patches, or texts of another length than a
                model that reads pictures takes.
        """
        self.check_size(x)
        network: Any = super()
        x = x.to(self.dtype)
        text = y[:, 0].to(x.dtype)
        if x_mask is not None:
            timestep = self.of_tokens(timestep, x_mask, x)
        image = None
        if self.given_modes:
            assert given is not None  # its presence was checked with the data
            assert num_given is not None
            x = torch.cat([x, mark_given(num_given, x, self.marks), given.to(x.dtype)], dim=1)
        if self.reads_pictures:
            assert picture is not None
            image = picture.to(x.dtype).flatten(0, 1)  # [B n, P, channels], n of one video together
            text = _of_length(text)
        if image is None and self._is_eager_on_cpu(x):
            return self._forward_lean(x, timestep, text).float()
        return network.forward(x, timestep, text, image, return_dict=False)[0].float()

    def blank_conditions(self, x: Tensor) -> dict[str, Tensor]:
        """What is read besides texts and sizes, without content, for latents [B, C, T, H, W]."""
        if not self.given_modes:
            return {}
        given = 1 + (FIRST_LAST in self.given_modes)
        found = {GIVEN: torch.zeros_like(x), NUM_GIVEN: x.new_full((len(x),), float(given))}
        if self.reads_pictures:
            config: Any = self.config
            tokens = (config.pos_embed_seq_len or _PICTURE * given) // given
            found[PICTURE] = x.new_zeros(len(x), given, tokens, config.image_dim)
        return found

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


def _of_length(text: Tensor) -> Tensor:
    """Texts [B, L, D] as [B, 512, D], zero beyond L.

    Raises:
        ConfigError: they are longer.
    """
    if text.shape[1] > _TEXT:
        raise ConfigError(
            f"model: a Wan that reads pictures takes texts of {_TEXT} tokens and these have"
            f" {text.shape[1]}; set text_encoder.model_max_length (encode.max_length of a workflow)"
            f" to {_TEXT}"
        )
    return nn.functional.pad(text, (0, 0, 0, _TEXT - text.shape[1]))


@cache
def _lean(kind: Any) -> Any:
    """One class for all blocks: what compiles, wraps or counts blocks tells them apart by it."""
    return type(kind.__name__, (LeanBlock, kind), {"__module__": kind.__module__})
