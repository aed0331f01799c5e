"""DiT: attention over all tokens, condition through adaptive layer norm.

Axes: B batch, C latent channels, T H W latent size; after patching T frames of S tokens,
D channels; in a block G groups of L tokens that attend to each other.

Source: Peebles and Xie 2022, arXiv:2212.09748.
"""

from torch import Tensor, nn

from opensora.models.build import register_model
from opensora.models.layers.attention import Attention
from opensora.models.layers.blocks import AdaptiveFinalLayer, Mlp
from opensora.models.layers.embeddings import (
    CaptionEmbedder,
    LabelEmbedder,
    Size3,
    TimestepEmbedder,
)
from opensora.models.layers.kernels.choice import TORCH, Kernels, choose_kernels
from opensora.models.layers.sized import SizedTransformer
from opensora.models.layers.transformer import LayerCounts, initialize_weights

_LABEL_PREFIX = "label_"


class DiTBlock(nn.Module):
    """Self attention and MLP, both modulated by the condition.

    Args:
        dim: D.
        num_heads: attention heads.
        mlp_ratio: width of the MLP over D.
        kernels: computes attention and modulated norms.
    """

    def __init__(
        self, dim: int, num_heads: int, *, mlp_ratio: float = 4.0, kernels: Kernels = TORCH
    ) -> None:
        super().__init__()
        self.modulate, self.add_gated = kernels.modulate, kernels.add_gated
        self.attn = Attention(dim, num_heads, **kernels.self_attention)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Update tokens x [B, G, L, D] given condition [B, D]; attention within each group."""
        B, G, L, D = x.shape
        modulation = self.adaLN_modulation(condition)[:, None, None]  # [B, 1, 1, 6 D]
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation.chunk(6, dim=-1)
        h = self.modulate(x, shift, scale).reshape(B * G, L, D)
        x = self.add_gated(x, gate, self.attn(h).view(B, G, L, D))
        return self.add_gated(x, mlp_gate, self.mlp(self.modulate(x, mlp_shift, mlp_scale)))


class DiT(SizedTransformer):
    """Diffusion transformer for one video size.

    Args:
        input_size: latent (T, H, W) of the stored position tables; other sizes get their own.
        in_channels: C.
        patch_size: latent frames, rows and columns of one token.
        hidden_size: D, divisible by 4 and by num_heads.
        depth: blocks.
        num_heads: attention heads.
        mlp_ratio: width of the MLP over D.
        class_dropout_prob: chance to drop the condition in training.
        learn_sigma: also predict a variance (2 C channels).
        condition: "text" (pooled text) or "label_<number of classes>".
        no_temporal_pos_emb: leave out frame positions, for images.
        caption_channels: channels of the text encoder; only for "text".
        model_max_length: not used, the text is pooled to one vector; here because all models
            get the length of the text encoder.
        enable_flash_attn: use the flash-attn package on CUDA.
        enable_layernorm_kernel: use fused Triton kernels for modulated norms on CUDA.
    """

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
        learn_sigma: bool = True,
        condition: str = "text",
        no_temporal_pos_emb: bool = False,
        caption_channels: int | None = 512,
        model_max_length: int | None = 77,
        enable_flash_attn: bool = False,
        enable_layernorm_kernel: bool = False,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=in_channels * 2 if learn_sigma else in_channels,
            patch_size=patch_size,
            hidden_size=hidden_size,
            num_heads=num_heads,
        )
        self.has_frame_positions = not no_temporal_pos_emb
        self.register_positions(input_size, space_name="pos_embed_spatial")
        self.y_embedder = _condition_embedder(
            condition, hidden_size, class_dropout_prob, caption_channels
        )
        self.t_embedder = TimestepEmbedder(hidden_size)
        kernels = choose_kernels(enable_flash_attn, enable_layernorm_kernel)
        self.blocks = nn.ModuleList(
            DiTBlock(hidden_size, num_heads, mlp_ratio=mlp_ratio, kernels=kernels)
            for _ in range(depth)
        )
        self.final_layer = AdaptiveFinalLayer(hidden_size, self.patch_features, kernels=kernels)
        initialize_weights(self)

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        y: Tensor,
        *,
        x_mask: Tensor | None = None,
        **_: Tensor | None,
    ) -> Tensor:
        """Predict noise or velocity.

        Args:
            x: noised latents [B, C, T, H, W].
            timestep: [B].
            y: pooled text [B, 1, 1, caption_channels], or labels [B] int64.
            x_mask: must be None, this model can not be given clean frames.
            **_: conditions of other models; this one is made for one size, and pooled text needs
                no mask.

        Returns:
            [B, out_channels, T, H, W] float32.
        """
        self.refuse_frame_mask(x_mask)
        size = x.shape[2], x.shape[3], x.shape[4]
        space, frames = self.positions(self.grid_size(size))
        x = self.x_embedder(x.to(self.dtype)) + space  # [B, T, S, D]
        condition = self.t_embedder(timestep) + self.embed_condition(y)  # [B, D]
        x = self.run_blocks(x, condition, frames)
        x = self.final_layer(x, condition)  # [B, T, S, patch_features]
        return self.unpatchify(x, size)

    def layer_counts(self) -> LayerCounts:
        """Layers of each kind, of which `plans` makes operations."""
        depth = len(self.blocks)
        return LayerCounts(joint=depth, modulations=6 * depth + 2)

    def embed_condition(self, y: Tensor) -> Tensor:
        """Labels [B] or pooled text [B, 1, 1, caption_channels] as vectors [B, D]."""
        if isinstance(self.y_embedder, LabelEmbedder):
            return self.y_embedder(y)
        return self.y_embedder(y.to(self.dtype)).flatten(1)

    def run_blocks(self, x: Tensor, condition: Tensor, frames: Tensor) -> Tensor:
        """All blocks: every token attends to every other.

        Args:
            x: [B, T, S, D].
            condition: [B, D].
            frames: [1, T, D] frame positions.

        Returns:
            [B, T, S, D].
        """
        if self.has_frame_positions:
            x = x + frames[:, :, None]
        grouped = x.flatten(1, 2)[:, None]  # [B, 1, T * S, D]
        for block in self.blocks:
            grouped = self.run_block(block, grouped, condition)
        return grouped.view(x.shape)


def _condition_embedder(
    condition: str, dim: int, drop_probability: float, caption_channels: int | None
) -> CaptionEmbedder | LabelEmbedder:
    """The embedder that `condition` names."""
    if condition == "text":
        if caption_channels is None:
            raise ValueError("condition is 'text', so caption_channels is needed")
        return CaptionEmbedder(caption_channels, dim, drop_probability, num_tokens=1)
    number = condition.removeprefix(_LABEL_PREFIX)
    if not condition.startswith(_LABEL_PREFIX) or not number.isdecimal():
        raise ValueError(f"condition is {condition!r}, expected 'text' or 'label_<classes>'")
    return LabelEmbedder(int(number), dim, drop_probability)


register_model("DiT", DiT)
register_model("DiT-XL/2", DiT, depth=28, hidden_size=1152, patch_size=(1, 2, 2), num_heads=16)
register_model("DiT-XL/2x2", DiT, depth=28, hidden_size=1152, patch_size=(2, 2, 2), num_heads=16)
