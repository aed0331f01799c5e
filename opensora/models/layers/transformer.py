"""What all diffusion transformers over latent videos have in common.

Axes: B batch, C latent channels, T H W latent size, S tokens of a frame, D channels, L text.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from opensora.models.layers.attention import Attention, CrossAttention
from opensora.models.layers.blocks import draw_drops
from opensora.models.layers.embeddings import PatchEmbed3D, Size3, repeat_rows
from opensora.models.layers.shared_tokens import SharedTokens, ShareTokens

_FROZEN_PARTS: dict[str, Callable[[str], bool]] = {
    "not_temporal": lambda name: "attn_temp" not in name,
    "text": lambda name: "cross_attn" in name,
}


@dataclass(frozen=True)
class LayerCounts:
    """How many layers of each kind a transformer has, for counting its operations.

    Every block also has an MLP.

    Attributes:
        in_frame: self attentions among the tokens of a frame.
        along_time: self attentions among the tokens of one place.
        joint: self attentions among all tokens.
        cross: attentions to the text.
        rotary: self attentions with rotary positions.
        embedded: channels of each number that is embedded once per sample; None = the timestep
            alone, with D.
        modulations: vectors of D channels that are made of these once per sample.
    """

    in_frame: int = 0
    along_time: int = 0
    joint: int = 0
    cross: int = 0
    rotary: int = 0
    embedded: tuple[int, ...] | None = None
    modulations: int = 6


class VideoTransformer(nn.Module):
    """Base of the transformers: patches in, patches out, checkpointing, freezing.

    A family names in `forward` the conditions that it takes and catches the rest; what else the
    pipeline wants to know stands in the class attributes and in `layer_counts`.

    Attributes:
        keeps_frames: takes `x_mask`, so that frames can be given.
        multi_resolution: what the field of that name in sampling configs calls a model that is
            given its size; None = it takes none.
        shares_tokens: `forward` heeds `share_tokens`.
        share_tokens: lets several workers share each video, see `shared_tokens.py`; None = each
            has videos of its own.
        graphs_per_size: compiled graphs that the blocks need for one size of a batch.
        residual_dtype: type of the tokens between branches; None = that of their sums.
        is_compiled: whether the blocks are compiled, so that what they are given has to be of the
            same form for all blocks and batches.

    Args:
        in_channels: C.
        out_channels: channels predicted; 2 C with a learned variance.
        patch_size: latent frames, rows and columns of one token.
        hidden_size: D.
        num_heads: attention heads; divides D.
    """

    keeps_frames: ClassVar[bool] = False
    multi_resolution: ClassVar[str | None] = None
    shares_tokens: ClassVar[bool] = False
    share_tokens: ShareTokens | None = None
    graphs_per_size: ClassVar[int] = 1
    residual_dtype: torch.dtype | None = None
    is_compiled: bool = False

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        patch_size: Size3,
        hidden_size: int,
        num_heads: int,
    ) -> None:
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(f"hidden_size {hidden_size} is not divisible by num_heads {num_heads}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.patch_size: Size3 = (patch_size[0], patch_size[1], patch_size[2])
        self.hidden_size = hidden_size
        self.num_heads = num_heads
        self.patch_features = math.prod(self.patch_size) * out_channels  # values of one patch
        self.grad_checkpoint = False
        self.x_embedder = PatchEmbed3D(self.patch_size, in_channels, hidden_size)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.x_embedder.proj.weight.dtype

    def set_grad_checkpoint(self, enabled: bool = True) -> None:
        """Recompute each block in the backward pass instead of storing what is inside it."""
        self.grad_checkpoint = enabled

    @property
    def all_blocks(self) -> list[nn.Module]:
        """The blocks in every list of the model."""
        lists = [child for child in self.children() if isinstance(child, nn.ModuleList)]
        return [block for blocks in lists for block in blocks]

    def layer_counts(self) -> LayerCounts:
        """Layers of each kind, of which `plans` makes costs; each family says its own.

        Raises:
            NotImplementedError: the family does not say.
        """
        raise NotImplementedError(f"{type(self).__name__} has no layer_counts")

    def compile_blocks(self, backend: str = "inductor") -> None:
        """Compile each block where it stands; blocks of one kind and size share a graph.

        So compiling takes a fraction of the time that the whole model would, and little is lost.

        Args:
            backend: of torch.compile.
        """
        self.is_compiled = True
        for block in self.all_blocks:
            block.compile(backend=backend, dynamic=False)

    def narrow_residual(self, dtype: torch.dtype) -> None:
        """Keep the tokens between all branches in a type; each sum is rounded once.

        Args:
            dtype: narrower than the weights, as that of the autocast that the model runs in.
        """
        self.residual_dtype = dtype
        for block in self.all_blocks:
            add_gated: Any = block.add_gated
            block.add_gated = partial(_add_in_type_of_tokens, add_gated)  # type: ignore[assignment]

    def grid_size(self, size: tuple[int, int, int]) -> Size3:
        """Tokens (grid_t, grid_h, grid_w) of a latent size (T, H, W), rounded up."""
        t, h, w = (-(-length // patch) for length, patch in zip(size, self.patch_size, strict=True))
        return t, h, w

    def run_block(self, block: nn.Module, *args: Any) -> Tensor:
        """Call a block, recomputing it later when checkpointing is on; tokens come first."""
        if self.residual_dtype is not None:
            args = (args[0].to(self.residual_dtype), *args[1:])
        if self.grad_checkpoint and torch.is_grad_enabled():
            return checkpoint(block, *args, use_reentrant=False)
        return block(*args)

    def draw_drops(self, block: nn.Module, branches: int, like: Tensor) -> Tensor | None:
        """Which branches of a block are skipped for which samples; None where none can be.

        Args:
            block: has `drop_path`, the chance.
            branches: gated ones.
            like: [B, ...] on the device.
        """
        rate = float(block.drop_path)  # type: ignore[arg-type]
        if not block.training:
            return None
        if rate:
            return draw_drops(branches, like, rate)
        drops = self.is_compiled and any(other.drop_path for other in self.all_blocks)
        return like.new_ones(branches, len(like), 1, 1, 1).float() if drops else None

    def prepare_text(
        self, y: Tensor, mask: Tensor | None, batch_size: int
    ) -> tuple[Tensor, Tensor | None]:
        """Captions and their mask as cross attention takes them, see `prepare_text`."""
        return prepare_text(y.to(self.dtype), mask, batch_size, trim=not self.is_compiled)

    def split_tokens(self, x: Tensor) -> tuple[Tensor, SharedTokens | None]:
        """What this worker has of the tokens [B, T, S, D], and how they are dealt out."""
        if self.share_tokens is None:
            return x, None
        shared = self.share_tokens(x.shape[1], x.shape[2])
        return shared.split(x), shared

    def unpatchify(
        self, x: Tensor, size: tuple[int, int, int], shared: SharedTokens | None = None
    ) -> Tensor:
        """Put patches back in place and cut off what padding added.

        Args:
            x: [B, grid_t, grid_h * grid_w, pt * ph * pw * out_channels], of which a worker that
                shares them has its places.
            size: latent size (T, H, W) of the result.
            shared: how the tokens are dealt out.

        Returns:
            [B, out_channels, T, H, W] float32.
        """
        if shared is not None:
            x = shared.join(x)
        pt, ph, pw = self.patch_size
        grid_t, grid_h, grid_w = self.grid_size(size)
        x = x.reshape(len(x), grid_t, grid_h, grid_w, pt, ph, pw, self.out_channels)
        x = x.permute(0, 7, 1, 4, 2, 5, 3, 6)  # [B, C, grid_t, pt, grid_h, ph, grid_w, pw]
        x = x.reshape(len(x), self.out_channels, grid_t * pt, grid_h * ph, grid_w * pw)
        return x[:, :, : size[0], : size[1], : size[2]].float()

    def frame_mask(self, x_mask: Tensor | None, batch_size: int) -> Tensor | None:
        """Frame mask [b, T] as one of token frames, bool [B, grid_t]: clean if all its frames are.

        Args:
            x_mask: nonzero = noised frame; b divides B. None = all frames are noised.
            batch_size: B.
        """
        if x_mask is None:
            return None
        x_mask, patch_t = repeat_rows(x_mask, batch_size).bool(), self.patch_size[0]
        if patch_t > 1:
            x_mask = F.pad(x_mask, (0, -x_mask.shape[1] % patch_t)).unflatten(1, (-1, patch_t))
            x_mask = x_mask.any(2)
        return x_mask

    def refuse_frame_mask(self, x_mask: Tensor | None) -> None:
        """Fail where a mask of given frames would have no effect."""
        if x_mask is not None:
            raise ValueError(f"{type(self).__name__} can not be given clean frames (x_mask)")

    def freeze(self, part: str | None) -> None:
        """Stop training one part: "text" (cross attention) or "not_temporal" (all but time).

        Raises:
            ValueError: another name, or nothing would be left to train.
        """
        if part is None:
            return
        if part not in _FROZEN_PARTS:
            raise ValueError(f"freeze is {part!r}, expected one of {sorted(_FROZEN_PARTS)} or None")
        for name, parameter in self.named_parameters():
            if _FROZEN_PARTS[part](name):
                parameter.requires_grad = False
        if not any(parameter.requires_grad for parameter in self.parameters()):
            raise ValueError(f"freeze is {part!r}, which is all of {type(self).__name__}")


def _add_in_type_of_tokens(
    add_gated: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor, gate: Tensor, branch: Tensor
) -> Tensor:
    return add_gated(x, gate, branch).to(x.dtype)


def prepare_text(
    y: Tensor, mask: Tensor | None, batch_size: int, *, trim: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Bring captions and their mask to the form that cross attention takes.

    On a CPU, columns that are padding in every row are cut off. Elsewhere looking at the mask
    would wait for the device, and in a compiled model it would end the graph.

    Args:
        y: [B, 1, L, channels].
        mask: [b, L], nonzero = token; b divides B (both halves of a guided batch share it).
        batch_size: B.
        trim: cut them off; compiled blocks would need a graph for each length.

    Returns:
        captions [B, 1, L', channels] and mask bool [B, 1, 1, L'], None when nothing is masked.
    """
    if mask is None:
        return y, None
    mask = repeat_rows(mask, batch_size).bool()
    if trim and mask.device.type == "cpu" and not torch.compiler.is_compiling():
        used = int(mask.any(0).nonzero().max()) + 1 if mask.any() else 1
        y, mask = y[:, :, :used], mask[:, :used]
        if mask.all():
            return y, None
    return y, mask[:, None, None]


@torch.no_grad()
def initialize_weights(model: VideoTransformer) -> None:
    """Initial weights of DiT: Xavier for linear layers, 0.02 for embedders, a zero output.

    Branches whose output starts at zero (cross attention, time) leave an image model as it is.

    Source: Peebles and Xie 2022, arXiv:2212.09748; Chen et al. 2023, arXiv:2310.00426.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    nn.init.xavier_uniform_(model.x_embedder.proj.weight.flatten(1))
    assert model.x_embedder.proj.bias is not None
    nn.init.zeros_(model.x_embedder.proj.bias)
    for name, module in model.named_modules():
        top = name.split(".")[0]
        if top in {"t_block", "t_block_temp"} or top.endswith("_embedder"):
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, CrossAttention) or (
            isinstance(module, Attention) and name.endswith("attn_temp")
        ):
            nn.init.zeros_(module.proj.weight)
        elif name.endswith("adaLN_modulation.1") or name == "final_layer.linear":
            assert isinstance(module, nn.Linear)
            nn.init.zeros_(module.weight)
