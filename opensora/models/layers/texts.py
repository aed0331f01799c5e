"""Texts as the blocks of a transformer take them: made at each call, or once for all timesteps.

Axes: B batch, L text tokens, D channels.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from opensora.models.layers.attention import BlockText, CrossAttention
from opensora.models.layers.embeddings import repeat_rows
from opensora.models.layers.transformer import VideoTransformer


class EncodedText(NamedTuple):
    """What `encode_text_once` makes; a model takes it in the place of y.

    Attributes:
        blocks: keys and values of each block, in the order of `all_blocks`.
        mask: bool [B, 1, 1, L]; None = nothing is masked.
    """

    blocks: Sequence[BlockText]
    mask: Tensor | None


class TextTransformer(VideoTransformer):
    """Base of the transformers whose blocks attend to a text."""

    y_embedder: nn.Module

    def embed_text(self, y: Tensor) -> Tensor:
        """Text embeddings [B, 1, L, caption_channels] to [B, 1, L, D]."""
        embedded: Tensor = self.y_embedder(y)
        return embedded

    def encode_text_once(self, y: Tensor, mask: Tensor | None = None) -> EncodedText:
        """Everything that the blocks make of a text alone, for sampling.

        No padding is cut off: a row depends on its own text only.

        Args:
            y: text embeddings [B, 1, L, caption_channels].
            mask: [b, L], nonzero = token; b divides B. None = all.
        """
        text = self.embed_text(y.to(self.dtype)).squeeze(1)  # [B, L, D]
        rows = None if mask is None else repeat_rows(mask, len(y)).bool()[:, None, None]
        attentions = [block.cross_attn for block in self.all_blocks]
        made = [one.keys_values(text) for one in attentions if isinstance(one, CrossAttention)]
        return EncodedText(made, rows)

    def texts_of_blocks(
        self, y: Tensor | EncodedText, mask: Tensor | None, batch_size: int
    ) -> tuple[Sequence[BlockText], Tensor | None]:
        """The text of each block, in the order of `all_blocks`, and the mask they share.

        Args:
            y: text embeddings [B, 1, L, caption_channels], or that once made of them.
            mask: [b, L], nonzero = token; not looked at where the text is made already.
            batch_size: B.
        """
        if isinstance(y, EncodedText):
            return y.blocks, y.mask
        y, text_mask = self.prepare_text(y, mask, batch_size)
        return [self.embed_text(y).squeeze(1)] * len(self.all_blocks), text_mask
