"""PixArt-alpha: joint attention over all tokens, cross attention to the text.

Axes: B batch, C latent channels, T H W latent size; after patching T frames of S tokens,
D channels, L text tokens.

Source: Chen et al. 2023, arXiv:2310.00426.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from opensora.models.build import register_model
from opensora.models.layers.attention import Attention, BlockText, CrossAttention
from opensora.models.layers.blocks import FinalLayer, Mlp, block_modulation, keep_gates
from opensora.models.layers.embeddings import (
    CaptionEmbedder,
    Size3,
    SizeEmbedder,
    TimestepEmbedder,
)
from opensora.models.layers.kernels.choice import TORCH, Kernels, choose_kernels
from opensora.models.layers.sized import SizedTransformer
from opensora.models.layers.texts import EncodedText, TextTransformer
from opensora.models.layers.transformer import LayerCounts, initialize_weights


class PixArtBlock(nn.Module):
    """Self attention over all tokens, text cross attention, MLP.

    Args:
        dim: D.
        num_heads: attention heads.
        mlp_ratio: width of the MLP over D.
        drop_path: chance to skip a gated branch of a sample in training.
        kernels: computes attention and modulated norms.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        kernels: Kernels = TORCH,
    ) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.modulate, self.add_gated = kernels.modulate, kernels.add_gated
        self.scale_shift_table = nn.Parameter(torch.randn(6, dim) / dim**0.5)
        self.attn = Attention(dim, num_heads, **kernels.self_attention)
        self.cross_attn = CrossAttention(dim, num_heads, attend=kernels.attend)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(
        self,
        x: Tensor,
        text: BlockText,
        time: Tensor,
        text_mask: Tensor | None = None,
        drops: Tensor | None = None,
    ) -> Tensor:
        """Update the tokens.

        Args:
            x: [B, T, S, D].
            text: [B, L, D].
            time: [B, 1, 6, D], shift, scale and gate of attention and of the MLP.
            text_mask: bool [B, 1, 1, L].
            drops: [2, B, 1, 1, 1], see `draw_drops`; None = no branch is skipped.

        Returns:
            [B, T, S, D].
        """
        B, T, S, D = x.shape
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = block_modulation(
            self.scale_shift_table, time
        )
        gate, mlp_gate = keep_gates(drops, gate, mlp_gate)

        h = self.modulate(x, shift, scale).view(B, T * S, D)
        x = self.add_gated(x, gate, self.attn(h).view(B, T, S, D))
        x = x + self.cross_attn(x.view(B, T * S, D), text, text_mask).view(B, T, S, D)
        return self.add_gated(x, mlp_gate, self.mlp(self.modulate(x, mlp_shift, mlp_scale)))


class PixArt(TextTransformer, SizedTransformer):
    """Text-to-image transformer; on videos all tokens of all frames attend to each other.

    Args:
        input_size: latent (T, H, W) of the stored position tables; other sizes get their own.
        in_channels: C.
        patch_size: latent frames, rows and columns of one token.
        hidden_size: D, divisible by 4 and by num_heads.
        depth: blocks.
        num_heads: attention heads.
        mlp_ratio: width of the MLP over D.
        class_dropout_prob: chance to drop a caption in training.
        pred_sigma: also predict a variance (2 C channels).
        drop_path: stochastic depth of the last block; grows linearly from 0.
        no_temporal_pos_emb: leave out frame positions, for images.
        caption_channels: channels of the text encoder.
        model_max_length: longest text L.
        freeze: "text" or None.
        space_scale: spatial coordinates are divided by it.
        time_scale: frame positions are divided by it.
        enable_flash_attn: use the flash-attn package on CUDA.
        enable_layernorm_kernel: use fused Triton kernels for modulated norms on CUDA.
    """

    def __init__(
        self,
        input_size: Size3 = (1, 32, 32),
        in_channels: int = 4,
        patch_size: Size3 = (1, 2, 2),
        hidden_size: int = 1152,
        depth: int = 28,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        class_dropout_prob: float = 0.1,
        pred_sigma: bool = True,
        drop_path: float = 0.0,
        no_temporal_pos_emb: bool = False,
        caption_channels: int = 4096,
        model_max_length: int = 120,
        freeze: str | None = None,
        space_scale: float = 1.0,
        time_scale: float = 1.0,
        enable_flash_attn: bool = False,
        enable_layernorm_kernel: bool = False,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=in_channels * 2 if pred_sigma else in_channels,
            patch_size=patch_size,
            hidden_size=hidden_size,
            num_heads=num_heads,
        )
        self.has_frame_positions = not no_temporal_pos_emb
        self.register_positions(
            input_size, space_scale=space_scale, time_scale=time_scale, use_base_size=True
        )
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 6 * hidden_size))
        self.y_embedder = CaptionEmbedder(
            caption_channels, hidden_size, class_dropout_prob, model_max_length
        )
        kernels = choose_kernels(enable_flash_attn, enable_layernorm_kernel)
        self.blocks = nn.ModuleList(
            PixArtBlock(
                hidden_size,
                num_heads,
                mlp_ratio=mlp_ratio,
                drop_path=drop_path * index / max(depth - 1, 1),
                kernels=kernels,
            )
            for index in range(depth)
        )
        self.final_layer = FinalLayer(hidden_size, self.patch_features, kernels=kernels)
        self.add_size_embedders()
        initialize_weights(self)
        self.freeze(freeze)

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        y: Tensor | EncodedText,
        mask: Tensor | None = None,
        *,
        x_mask: Tensor | None = None,
        **sizes: Any,
    ) -> Tensor:
        """Predict noise or velocity.

        Args:
            x: noised latents [B, C, T, H, W].
            timestep: [B].
            y: text embeddings [B, 1, L, caption_channels], or the `EncodedText` of them.
            mask: [b, L], nonzero = token; b divides B. None = all.
            x_mask: must be None, this model can not be given clean frames.
            **sizes: what `embed_size` takes; other conditions belong to other models.

        Returns:
            [B, out_channels, T, H, W] float32.
        """
        self.refuse_frame_mask(x_mask)
        B, size = len(x), (x.shape[2], x.shape[3], x.shape[4])
        space, frames = self.positions(self.grid_size(size))
        x = self.x_embedder(x.to(self.dtype)) + space  # [B, T, S, D]
        if self.has_frame_positions:
            x = x + frames[:, :, None]
        t = self.t_embedder(timestep) + self.embed_size(B, **sizes)  # [B, D]
        time = self.t_block(t).view(B, 1, 6, -1)
        texts, text_mask = self.texts_of_blocks(y, mask, B)
        for block, text in zip(self.blocks, texts, strict=True):
            x = self.run_block(block, x, text, time, text_mask, self.draw_drops(block, 2, x))
        x = self.final_layer(x, t)  # [B, T, S, patch_features]
        return self.unpatchify(x, size)

    def layer_counts(self) -> LayerCounts:
        """Layers of each kind, of which `plans` makes operations."""
        depth = len(self.blocks)
        return LayerCounts(joint=depth, cross=depth)

    def add_size_embedders(self) -> None:
        """Make what `embed_size` needs: nothing here."""

    def embed_size(self, batch_size: int, **_: Any) -> Tensor | float:
        """What the pixel size adds to the timestep embedding: nothing here."""
        return 0.0


class PixArtMS(PixArt):
    """PixArt conditioned on height, width and aspect ratio; hidden_size divisible by 12.

    Its forward takes them as `embed_size` does.

    Source: Chen et al. 2023, arXiv:2310.00426, multi-aspect training.
    """

    multi_resolution = "PixArtMS"

    def add_size_embedders(self) -> None:
        """One third of D for each of height, width and aspect ratio."""
        if self.hidden_size % 12:
            raise ValueError(f"hidden_size {self.hidden_size} is not divisible by 12")
        self.csize_embedder = SizeEmbedder(self.hidden_size // 3)
        self.ar_embedder = SizeEmbedder(self.hidden_size // 3)

    def embed_size(
        self,
        batch_size: int,
        height: Tensor | None = None,
        width: Tensor | None = None,
        ar: Tensor | None = None,
        data_info: Mapping[str, Tensor] | None = None,
        **_: Any,
    ) -> Tensor:
        """Height, width and aspect ratio as vectors.

        Args:
            batch_size: B.
            height: [b] pixels; b divides B.
            width: [b] pixels.
            ar: [b], height / width.
            data_info: instead of the three, as PixArt's own code gives them: "hw" [b, 2] and
                "ar" [b, 1].
            **_: conditions of other models.

        Returns:
            [B, D].

        Raises:
            ValueError: the size is missing.
        """
        if data_info is not None:
            (height, width), ar = data_info["hw"].unbind(1), data_info["ar"].flatten()
        if height is None or width is None or ar is None:
            raise ValueError("PixArtMS needs height, width and ar")
        size = self.csize_embedder(torch.stack((height, width), dim=1), batch_size)
        return torch.cat((size, self.ar_embedder(ar[:, None], batch_size)), dim=1)


register_model("PixArt", PixArt)
register_model(
    "PixArt-XL/2", PixArt, depth=28, hidden_size=1152, patch_size=(1, 2, 2), num_heads=16
)
register_model("PixArtMS", PixArtMS)
register_model(
    "PixArtMS-XL/2", PixArtMS, depth=28, hidden_size=1152, patch_size=(1, 2, 2), num_heads=16
)
