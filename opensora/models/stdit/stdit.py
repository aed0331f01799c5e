"""STDiT: attention within each frame, then along time, then to the text.

Axes: B batch, C latent channels, T H W latent size; after patching T frames of S tokens,
D channels, L text tokens, F 1 or T (modulation per sample or per frame).
"""

import torch
from torch import Tensor, nn

from opensora.models.build import register_model
from opensora.models.layers.attention import Attention, BlockText, CrossAttention
from opensora.models.layers.blocks import (
    FinalLayer,
    Mlp,
    block_modulation,
    keep_gates,
    select_frames,
)
from opensora.models.layers.embeddings import CaptionEmbedder, Size3, TimestepEmbedder
from opensora.models.layers.kernels.choice import TORCH, Kernels, choose_kernels
from opensora.models.layers.shared_tokens import SharedTokens
from opensora.models.layers.sized import SizedTransformer
from opensora.models.layers.texts import EncodedText, TextTransformer
from opensora.models.layers.transformer import LayerCounts, initialize_weights


class STDiTBlock(nn.Module):
    """Spatial attention, temporal attention, text cross attention, MLP.

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
        self.attn_temp = Attention(dim, num_heads, **kernels.self_attention)

    def forward(
        self,
        x: Tensor,
        text: BlockText,
        time: Tensor,
        text_mask: Tensor | None = None,
        frame_positions: Tensor | None = None,
        temporal_time: Tensor | None = None,
        shared: SharedTokens | None = None,
        drops: Tensor | None = None,
    ) -> Tensor:
        """Update the tokens.

        Args:
            x: [B, T, S, D].
            text: [B, L, D], or its keys and values.
            time: [B, F, 6, D], shift, scale and gate of spatial attention and of the MLP.
            text_mask: bool [B, 1, 1, L].
            frame_positions: [1, T, D], added before temporal attention; only the first block
                has them, the others None, or zeros where all have to share a graph.
            temporal_time: [B, 1, 6, D], its spatial gate also gates time; None = `time`.
                Differs from `time` only where a mask marks clean frames.
            shared: how the tokens are dealt out; None = all are here.
            drops: [3, B, 1, 1, 1], see `draw_drops`; None = no branch is skipped.

        Returns:
            [B, T, S, D].
        """
        B, T, S, D = x.shape
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = block_modulation(
            self.scale_shift_table, time
        )
        temporal_gate = gate
        if temporal_time is not None:
            temporal_gate = self.scale_shift_table[2] + temporal_time[:, :, 2:3]
        gate, temporal_gate, mlp_gate = keep_gates(drops, gate, temporal_gate, mlp_gate)

        h = self.modulate(x, shift, scale)
        x = self.add_gated(x, gate, self.attn.in_frames(h, shared))

        h = x if frame_positions is None else x + frame_positions[:, :, None]
        x = self.add_gated(x, temporal_gate, self.attn_temp.along_time(h))

        x = x + self.cross_attn(x.view(B, T * S, D), text, text_mask).view(B, T, S, D)
        return self.add_gated(x, mlp_gate, self.mlp(self.modulate(x, mlp_shift, mlp_scale)))


class STDiT(TextTransformer, SizedTransformer):
    """Spatial-temporal DiT for one video size.

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
        space_scale: spatial coordinates are divided by it.
        time_scale: frame positions are divided by it.
        freeze: "text", "not_temporal" or None.
        enable_flash_attn: use the flash-attn package on CUDA.
        enable_layernorm_kernel: use fused Triton kernels for modulated norms on CUDA.
    """

    keeps_frames = True
    shares_tokens = True

    def __init__(
        self,
        input_size: Size3 = (16, 32, 32),
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
        space_scale: float = 1.0,
        time_scale: float = 1.0,
        freeze: str | None = None,
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
        self.register_positions(input_size, space_scale=space_scale, time_scale=time_scale)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 6 * hidden_size))
        self.y_embedder = CaptionEmbedder(
            caption_channels, hidden_size, class_dropout_prob, model_max_length
        )
        kernels = choose_kernels(enable_flash_attn, enable_layernorm_kernel)
        self.blocks = nn.ModuleList(
            STDiTBlock(
                hidden_size,
                num_heads,
                mlp_ratio=mlp_ratio,
                drop_path=drop_path * index / max(depth - 1, 1),
                kernels=kernels,
            )
            for index in range(depth)
        )
        self.final_layer = FinalLayer(hidden_size, self.patch_features, kernels=kernels)
        initialize_weights(self)
        self.freeze(freeze)

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        y: Tensor | EncodedText,
        mask: Tensor | None = None,
        x_mask: Tensor | None = None,
        **_: Tensor | None,
    ) -> Tensor:
        """Predict noise or velocity.

        Args:
            x: noised latents [B, C, T, H, W].
            timestep: [B].
            y: text embeddings [B, 1, L, caption_channels], or the `EncodedText` of them.
            mask: [b, L], nonzero = token; b divides B. None = all.
            x_mask: bool [b, T], True = noised frame, False = given clean frame. None = all noised.
            **_: conditions of other models; this one is made for one size and rate.

        Returns:
            [B, out_channels, T, H, W] float32.
        """
        size, dtype = (x.shape[2], x.shape[3], x.shape[4]), self.dtype
        space, frames = self.positions(self.grid_size(size))
        x, shared = self.split_tokens(self.x_embedder(x.to(dtype)) + space)  # [B, T, S, D]
        t = self.t_embedder(timestep)  # [B, D]
        noised = self.t_block(t).view(len(x), 1, 6, -1)
        x_mask, t_clean, clean = self.frame_mask(x_mask, len(x)), None, None
        if x_mask is not None:
            t_clean = self.t_embedder(torch.zeros_like(timestep))
            clean = self.t_block(t_clean).view(len(x), 1, 6, -1)
        time = select_frames(x_mask, noised, clean)  # [B, F, 6, D]
        temporal_time = None if x_mask is None else noised  # as the released weights were trained
        texts, text_mask = self.texts_of_blocks(y, mask, len(x))

        first = frames if self.has_frame_positions else None
        later = torch.zeros_like(frames) if self.is_compiled and first is not None else None
        for block, text in zip(self.blocks, texts, strict=True):
            drops = self.draw_drops(block, 3, x)
            args = (x, text, time, text_mask, first, temporal_time, shared, drops)
            x, first = self.run_block(block, *args), later
        x = self.final_layer(x, t, x_mask, t_clean)  # [B, T, S, patch_features]
        return self.unpatchify(x, size, shared)

    def layer_counts(self) -> LayerCounts:
        """Layers of each kind, of which `plans` makes operations."""
        depth = len(self.blocks)
        return LayerCounts(in_frame=depth, along_time=depth, cross=depth)


register_model("STDiT", STDiT)
register_model("STDiT-XL/2", STDiT, depth=28, hidden_size=1152, patch_size=(1, 2, 2), num_heads=16)
