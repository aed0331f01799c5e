"""STDiT2: STDiT for any size, with rotary time, normalised q and k, and size conditions.

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
from opensora.models.layers.embeddings import (
    CaptionEmbedder,
    Size3,
    SizeEmbedder,
    TimestepEmbedder,
)
from opensora.models.layers.kernels.choice import TORCH, Kernels, choose_kernels
from opensora.models.layers.positions import RotaryEmbedding, scaled_table, temporal_table
from opensora.models.layers.shared_tokens import SharedTokens
from opensora.models.layers.texts import EncodedText, TextTransformer
from opensora.models.layers.transformer import LayerCounts, initialize_weights


class STDiT2Block(nn.Module):
    """Spatial attention, rotary temporal attention, text cross attention, MLP.

    Args:
        dim: D.
        num_heads: attention heads.
        mlp_ratio: width of the MLP over D.
        drop_path: chance to skip a gated branch of a sample in training.
        qk_norm: RMS-normalise q and k of both self attentions.
        qk_norm_legacy: rotate before normalising.
        kernels: computes attention and modulated norms.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        qk_norm: bool = False,
        qk_norm_legacy: bool = True,
        kernels: Kernels = TORCH,
    ) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.modulate, self.add_gated = kernels.modulate, kernels.add_gated
        self.scale_shift_table = nn.Parameter(torch.randn(6, dim) / dim**0.5)
        self.scale_shift_table_temporal = nn.Parameter(torch.randn(3, dim) / dim**0.5)
        self.attn = Attention(dim, num_heads, qk_norm=qk_norm, **kernels.self_attention)
        self.cross_attn = CrossAttention(dim, num_heads, attend=kernels.attend)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.attn_temp = Attention(
            dim, num_heads, qk_norm=qk_norm, qk_norm_legacy=qk_norm_legacy, **kernels.self_attention
        )

    def forward(
        self,
        x: Tensor,
        text: BlockText,
        time: Tensor,
        temporal_time: Tensor,
        rotation: Tensor,
        text_mask: Tensor | None = None,
        shared: SharedTokens | None = None,
        drops: Tensor | None = None,
    ) -> Tensor:
        """Update the tokens.

        Args:
            x: [B, T, S, D].
            text: [B, L, D], or its keys and values.
            time: [B, F, 6, D], shift, scale and gate of spatial attention and of the MLP.
            temporal_time: [B, F, 3, D], shift, scale and gate of temporal attention.
            rotation: [T, d // 2, 2], rotary table of the frames.
            text_mask: bool [B, 1, 1, L].
            shared: how the tokens are dealt out; None = all are here.
            drops: [3, B, 1, 1, 1], see `draw_drops`; None = no branch is skipped.

        Returns:
            [B, T, S, D].
        """
        B, T, S, D = x.shape
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = block_modulation(
            self.scale_shift_table, time
        )
        t_shift, t_scale, t_gate = block_modulation(self.scale_shift_table_temporal, temporal_time)
        gate, t_gate, mlp_gate = keep_gates(drops, gate, t_gate, mlp_gate)

        h = self.modulate(x, shift, scale)
        x = self.add_gated(x, gate, self.attn.in_frames(h, shared))

        h = self.modulate(x, t_shift, t_scale)
        x = self.add_gated(x, t_gate, self.attn_temp.along_time(h, rotation))

        x = x + self.cross_attn(x.view(B, T * S, D), text, text_mask).view(B, T, S, D)
        return self.add_gated(x, mlp_gate, self.mlp(self.modulate(x, mlp_shift, mlp_scale)))


class STDiT2(TextTransformer):
    """Spatial-temporal DiT for videos of any length, size, aspect ratio and frame rate.

    Args:
        input_size: not used, any size will do; here because all models get the latent size.
        input_sq_size: side in pixels of the square whose positions are counted 0, 1, 2, ...
        in_channels: C.
        patch_size: latent frames, rows and columns of one token.
        hidden_size: D, divisible by 12 (spatial table, size embedding) and by num_heads.
        depth: blocks.
        num_heads: attention heads.
        mlp_ratio: width of the MLP over D.
        class_dropout_prob: chance to drop a caption in training.
        pred_sigma: also predict a variance (2 C channels).
        drop_path: stochastic depth of the last block; grows linearly from 0.
        caption_channels: channels of the text encoder.
        model_max_length: longest text L.
        freeze: "text", "not_temporal" or None.
        qk_norm: RMS-normalise q and k.
        qk_norm_legacy: rotate before normalising, as the released weights expect.
        temporal_pos_embed: also add sin-cos frame positions to the residual stream.
        enable_flash_attn: use the flash-attn package on CUDA.
        enable_layernorm_kernel: use fused Triton kernels for modulated norms on CUDA.
    """

    keeps_frames = True
    shares_tokens = True
    multi_resolution = "STDiT2"

    def __init__(
        self,
        input_size: tuple[int | None, ...] = (None, None, None),
        input_sq_size: int = 32,
        in_channels: int = 4,
        patch_size: Size3 = (1, 2, 2),
        hidden_size: int = 1152,
        depth: int = 28,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        class_dropout_prob: float = 0.1,
        pred_sigma: bool = True,
        drop_path: float = 0.0,
        caption_channels: int = 4096,
        model_max_length: int = 120,
        freeze: str | None = None,
        qk_norm: bool = False,
        qk_norm_legacy: bool = True,
        temporal_pos_embed: bool = False,
        enable_flash_attn: bool = False,
        enable_layernorm_kernel: bool = False,
    ) -> None:
        if hidden_size % 12:
            raise ValueError(f"hidden_size {hidden_size} is not divisible by 12")
        super().__init__(
            in_channels=in_channels,
            out_channels=in_channels * 2 if pred_sigma else in_channels,
            patch_size=patch_size,
            hidden_size=hidden_size,
            num_heads=num_heads,
        )
        self.input_sq_size = input_sq_size
        self.temporal_pos_embed = temporal_pos_embed
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 6 * hidden_size))
        self.t_block_temp = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 3 * hidden_size))
        self.y_embedder = CaptionEmbedder(
            caption_channels, hidden_size, class_dropout_prob, model_max_length
        )
        self.rope = RotaryEmbedding(hidden_size // num_heads)
        kernels = choose_kernels(enable_flash_attn, enable_layernorm_kernel)
        self.blocks = nn.ModuleList(
            STDiT2Block(
                hidden_size,
                num_heads,
                mlp_ratio=mlp_ratio,
                drop_path=drop_path * index / max(depth - 1, 1),
                qk_norm=qk_norm,
                qk_norm_legacy=qk_norm_legacy,
                kernels=kernels,
            )
            for index in range(depth)
        )
        self.final_layer = FinalLayer(hidden_size, self.patch_features, kernels=kernels)
        self.csize_embedder = SizeEmbedder(hidden_size // 3)  # height, width
        self.ar_embedder = SizeEmbedder(hidden_size // 3)
        self.fl_embedder = SizeEmbedder(hidden_size)  # number of frames
        self.fps_embedder = SizeEmbedder(hidden_size)
        initialize_weights(self)
        self.freeze(freeze)

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        y: Tensor | EncodedText,
        mask: Tensor | None = None,
        x_mask: Tensor | None = None,
        num_frames: Tensor | None = None,
        height: Tensor | None = None,
        width: Tensor | None = None,
        ar: Tensor | None = None,
        fps: Tensor | None = None,
        **_: Tensor | None,
    ) -> Tensor:
        """Predict noise or velocity.

        Args:
            x: noised latents [B, C, T, H, W].
            timestep: [B].
            y: text embeddings [B, 1, L, caption_channels], or the `EncodedText` of them.
            mask: [b, L], nonzero = token; b divides B. None = all.
            x_mask: bool [b, T], True = noised frame, False = given clean frame. None = all noised.
            num_frames: [b], frames of the video before the autoencoder.
            height: [b] pixels; the first one sets the scale of positions for the batch.
            width: [b] pixels.
            ar: [b], height / width.
            fps: [b]; 120 for images.
            **_: conditions of other models.

        Returns:
            [B, out_channels, T, H, W] float32.

        Raises:
            ValueError: a size condition is missing.
        """
        if num_frames is None or height is None or width is None or ar is None or fps is None:
            raise ValueError("STDiT2 needs num_frames, height, width, ar and fps")
        B, size, dtype = len(x), (x.shape[2], x.shape[3], x.shape[4]), self.dtype
        x = self.x_embedder(x.to(dtype)) + self._positions(size, height, width)  # [B, T, S, D]
        sizes = self.csize_embedder(torch.stack((height, width), dim=1), B)  # [B, 2 D / 3]
        space = torch.cat((sizes, self.ar_embedder(ar[:, None], B)), dim=1)  # [B, D]
        frames = self.fl_embedder(num_frames[:, None], B) + self.fps_embedder(fps[:, None], B)
        t = self.t_embedder(timestep)  # [B, D]
        time, temporal_time = self._modulations(t + space, t + frames)
        x_mask, t_clean = self.frame_mask(x_mask, B), None
        if x_mask is not None:
            t_zero = self.t_embedder(torch.zeros_like(timestep))
            t_clean = t_zero + space  # the final layer sees the size on clean frames only
            clean = self._modulations(t_clean, t_zero + frames)
            time = select_frames(x_mask, time, clean[0])
            temporal_time = select_frames(x_mask, temporal_time, clean[1])
        texts, text_mask = self.texts_of_blocks(y, mask, B)
        x, shared = self.split_tokens(x)

        rest = (time, temporal_time, self.rope(x.shape[1]), text_mask, shared)
        for block, text in zip(self.blocks, texts, strict=True):
            x = self.run_block(block, x, text, *rest, self.draw_drops(block, 3, x))
        x = self.final_layer(x, t, x_mask, t_clean)  # [B, T, S, patch_features]
        return self.unpatchify(x, size, shared)

    def layer_counts(self) -> LayerCounts:
        """Layers of each kind, of which `plans` makes operations."""
        depth, dim, third = len(self.blocks), self.hidden_size, self.hidden_size // 3
        return LayerCounts(
            in_frame=depth,
            along_time=depth,
            cross=depth,
            rotary=depth,
            # timestep, number of frames, frame rate; height, width, aspect ratio
            embedded=(dim, dim, dim, third, third, third),
            modulations=9,
        )

    def _modulations(self, space: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Modulation of space [B, 1, 6, D] and of time [B, 1, 3, D]."""
        B, D = space.shape
        return self.t_block(space).view(B, 1, 6, D), self.t_block_temp(frames).view(B, 1, 3, D)

    def _positions(self, size: Size3, height: Tensor, width: Tensor) -> Tensor:
        """Positions [1, T or 1, S, D] for a latent size and the pixel size of the first sample."""
        grid_t, grid_h, grid_w = self.grid_size(size)
        table = scaled_table(
            grid_h,
            grid_w,
            self.hidden_size,
            height=height,
            width=width,
            input_sq_size=self.input_sq_size,
        )[:, None]  # [1, 1, S, D]
        if self.temporal_pos_embed:
            frames = temporal_table(grid_t, self.hidden_size, device=table.device)
            table = table + frames[:, :, None]
        return table.to(self.dtype)


register_model("STDiT2", STDiT2)
register_model(
    "STDiT2-XL/2", STDiT2, depth=28, hidden_size=1152, patch_size=(1, 2, 2), num_heads=16
)
