"""STDiT3: whole blocks of space and of time in turn, for any size.

Axes: B batch, C latent channels, T H W latent size; after patching T frames of S tokens,
D channels, L text tokens, F 1 or T (modulation per sample or per frame).
"""

from typing import Any

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
from opensora.models.layers.positions import RotaryEmbedding, scaled_table
from opensora.models.layers.shared_tokens import SharedTokens
from opensora.models.layers.texts import EncodedText, TextTransformer
from opensora.models.layers.transformer import LayerCounts, initialize_weights


class STDiT3Block(nn.Module):
    """Self attention within each frame or along time, text cross attention, MLP.

    Args:
        dim: D.
        num_heads: attention heads.
        temporal: attend along time, else within each frame.
        mlp_ratio: width of the MLP over D.
        drop_path: chance to skip a gated branch of a sample in training.
        qk_norm: RMS-normalise q and k.
        qk_norm_legacy: rotate before normalising.
        kernels: computes attention and modulated norms.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        temporal: bool,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        qk_norm: bool = True,
        qk_norm_legacy: bool = False,
        kernels: Kernels = TORCH,
    ) -> None:
        super().__init__()
        self.temporal = temporal
        self.drop_path = drop_path
        self.modulate, self.add_gated = kernels.modulate, kernels.add_gated
        self.scale_shift_table = nn.Parameter(torch.randn(6, dim) / dim**0.5)
        self.attn = Attention(
            dim, num_heads, qk_norm=qk_norm, qk_norm_legacy=qk_norm_legacy, **kernels.self_attention
        )
        self.cross_attn = CrossAttention(dim, num_heads, attend=kernels.attend)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(
        self,
        x: Tensor,
        text: BlockText,
        time: Tensor,
        rotation: Tensor | None = None,
        text_mask: Tensor | None = None,
        shared: SharedTokens | None = None,
        drops: Tensor | None = None,
    ) -> Tensor:
        """Update the tokens.

        Args:
            x: [B, T, S, D].
            text: [B, L, D], or its keys and values.
            time: [B, F, 6, D], shift, scale and gate of attention and of the MLP.
            rotation: [T, d // 2, 2], rotary table of the frames; for temporal blocks.
            text_mask: bool [B, 1, 1, L].
            shared: how the tokens are dealt out; None = all are here.
            drops: [2, B, 1, 1, 1], see `draw_drops`; None = no branch is skipped.

        Returns:
            [B, T, S, D].
        """
        B, T, S, D = x.shape
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = block_modulation(
            self.scale_shift_table, time
        )
        gate, mlp_gate = keep_gates(drops, gate, mlp_gate)

        h = self.modulate(x, shift, scale)  # [B, T, S, D]
        h = self.attn.along_time(h, rotation) if self.temporal else self.attn.in_frames(h, shared)
        x = self.add_gated(x, gate, h)
        x = x + self.cross_attn(x.view(B, T * S, D), text, text_mask).view(B, T, S, D)
        return self.add_gated(x, mlp_gate, self.mlp(self.modulate(x, mlp_shift, mlp_scale)))


class STDiT3(TextTransformer):
    """Spatial-temporal DiT of version 1.2: `depth` pairs of a spatial and a temporal block.

    Args:
        input_size: not used, any size will do; here because all models get the latent size.
        input_sq_size: side in pixels of the square whose positions are counted 0, 1, 2, ...
        in_channels: C.
        patch_size: latent frames, rows and columns of one token.
        hidden_size: D, divisible by 4 and by num_heads.
        depth: pairs of blocks.
        num_heads: attention heads.
        mlp_ratio: width of the MLP over D.
        class_dropout_prob: chance to drop a caption in training.
        pred_sigma: also predict a variance (2 C channels).
        drop_path: stochastic depth of the last pair; grows linearly from 0.
        caption_channels: channels of the text encoder.
        model_max_length: longest text L.
        qk_norm: RMS-normalise q and k.
        qk_norm_legacy: rotate before normalising.
        skip_y_embedder: the text comes embedded already, [B, 1, L, D] as `encode_text` makes it.
        freeze_y_embedder: do not train the caption embedder.
        only_train_temporal: train nothing but the temporal blocks.
        enable_flash_attn: use the flash-attn package on CUDA.
        enable_layernorm_kernel: use fused Triton kernels for modulated norms on CUDA.
    """

    keeps_frames = True
    shares_tokens = True
    graphs_per_size = 2  # in space and along time
    multi_resolution = "STDiT2"  # the size conditions of a bucket, as STDiT2

    def __init__(
        self,
        input_size: tuple[int | None, ...] = (None, None, None),
        input_sq_size: int = 512,
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
        model_max_length: int = 300,
        qk_norm: bool = True,
        qk_norm_legacy: bool = False,
        skip_y_embedder: bool = False,
        freeze_y_embedder: bool = False,
        only_train_temporal: bool = False,
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
        self.input_sq_size, self.skip_y_embedder = input_sq_size, skip_y_embedder
        patches = self.x_embedder
        del self.x_embedder
        self.rope = RotaryEmbedding(hidden_size // num_heads)
        self.x_embedder = patches  # now behind rope: the order of the released weights
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.fps_embedder = SizeEmbedder(hidden_size)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 6 * hidden_size))
        self.y_embedder = CaptionEmbedder(
            caption_channels, hidden_size, class_dropout_prob, model_max_length
        )
        kernels = choose_kernels(enable_flash_attn, enable_layernorm_kernel)
        settings: dict[str, Any] = dict(
            mlp_ratio=mlp_ratio, qk_norm=qk_norm, qk_norm_legacy=qk_norm_legacy, kernels=kernels
        )
        rates = [drop_path * index / max(depth - 1, 1) for index in range(depth)]
        self.spatial_blocks, self.temporal_blocks = (
            nn.ModuleList(
                STDiT3Block(hidden_size, num_heads, temporal=temporal, drop_path=rate, **settings)
                for rate in rates
            )
            for temporal in (False, True)
        )
        self.final_layer = FinalLayer(hidden_size, self.patch_features, kernels=kernels)
        self._initialize_weights()
        if only_train_temporal:
            self.requires_grad_(False)
            self.temporal_blocks.requires_grad_(True)
        if freeze_y_embedder or skip_y_embedder:
            self.y_embedder.requires_grad_(False)

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        y: Tensor | EncodedText,
        mask: Tensor | None = None,
        x_mask: Tensor | None = None,
        height: Tensor | None = None,
        width: Tensor | None = None,
        fps: Tensor | None = None,
        **_: Tensor | None,
    ) -> Tensor:
        """Predict noise or velocity.

        Args:
            x: noised latents [B, C, T, H, W].
            timestep: [B].
            y: text embeddings [B, 1, L, caption_channels], or [B, 1, L, D] with skip_y_embedder,
                or the `EncodedText` of them.
            mask: [b, L], nonzero = token; b divides B. None = all.
            x_mask: bool [b, T], True = noised frame, False = given clean frame. None = all noised.
            height: [b] pixels; the first one sets the scale of positions for the batch.
            width: [b] pixels.
            fps: [b]; 120 for images.
            **_: conditions of other models.

        Returns:
            [B, out_channels, T, H, W] float32.

        Raises:
            ValueError: a size condition is missing.
        """
        if height is None or width is None or fps is None:
            raise ValueError("STDiT3 needs height, width and fps")
        B, size, dtype = len(x), (x.shape[2], x.shape[3], x.shape[4]), self.dtype
        x = self.x_embedder(x.to(dtype)) + self._positions(size, height, width)  # [B, T, S, D]
        rate = self.fps_embedder(fps[:, None], B)  # [B, D]
        t = self.t_embedder(timestep) + rate
        time = self.t_block(t).view(B, 1, 6, -1)
        x_mask, t_clean = self.frame_mask(x_mask, B), None
        if x_mask is not None:
            t_clean = self.t_embedder(torch.zeros_like(timestep)) + rate
            time = select_frames(x_mask, time, self.t_block(t_clean).view(B, 1, 6, -1))
        texts, text_mask = self.texts_of_blocks(y, mask, B)
        rotation = self.rope(x.shape[1])
        x, shared = self.split_tokens(x)

        depth = len(self.spatial_blocks)
        pairs = zip(
            self.spatial_blocks, self.temporal_blocks, texts[:depth], texts[depth:], strict=True
        )
        for spatial, temporal, first, second in pairs:
            for block, text, positions in ((spatial, first, None), (temporal, second, rotation)):
                drops = self.draw_drops(block, 2, x)
                x = self.run_block(block, x, text, time, positions, text_mask, shared, drops)
        x = self.final_layer(x, t, x_mask, t_clean)  # [B, T, S, patch_features]
        return self.unpatchify(x, size, shared)

    def layer_counts(self) -> LayerCounts:
        """Layers of each kind, of which `plans` makes operations."""
        spatial, temporal = len(self.spatial_blocks), len(self.temporal_blocks)
        return LayerCounts(
            in_frame=spatial,
            along_time=temporal,
            cross=spatial + temporal,
            rotary=temporal,
            embedded=(self.hidden_size, self.hidden_size),  # timestep, frame rate
        )

    def _positions(self, size: Size3, height: Tensor, width: Tensor) -> Tensor:
        """Positions [1, S, D] for a latent size and the pixel size of the first sample."""
        _, grid_h, grid_w = self.grid_size(size)
        return scaled_table(
            grid_h,
            grid_w,
            self.hidden_size,
            height=height,
            width=width,
            input_sq_size=self.input_sq_size,
        ).to(self.dtype)

    def embed_text(self, y: Tensor) -> Tensor:
        """The text embedded, if it does not come so."""
        return y if self.skip_y_embedder else self.encode_text(y)

    def encode_text(self, y: Tensor) -> Tensor:
        """Text embeddings [B, 1, L, caption_channels] as the blocks take them, [B, 1, L, D].

        They are the same at every timestep, so they may be made ahead (skip_y_embedder).
        """
        return self.y_embedder(y)

    @torch.no_grad()
    def _initialize_weights(self) -> None:
        """As the other models; time and its rate add nothing at first: an image model stays one."""
        initialize_weights(self)
        rate = self.fps_embedder.mlp[2]
        assert isinstance(rate, nn.Linear)
        nn.init.zeros_(rate.weight)
        for block in self.temporal_blocks:
            assert isinstance(block, STDiT3Block)
            for layer in (block.attn.proj, block.cross_attn.proj, block.mlp.fc2):
                nn.init.zeros_(layer.weight)


register_model("STDiT3", STDiT3)
register_model(
    "STDiT3-XL/2", STDiT3, depth=28, hidden_size=1152, patch_size=(1, 2, 2), num_heads=16
)
