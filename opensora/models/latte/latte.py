"""Latte: DiT whose blocks attend within a frame and along time in turn.

Axes: B batch, T frames of S tokens, D channels.

Source: Ma et al. 2024, arXiv:2401.03048, variant 1.
"""

from dataclasses import replace

from torch import Tensor

from opensora.models.build import register_model
from opensora.models.dit.dit import DiT
from opensora.models.layers.transformer import LayerCounts


class Latte(DiT):
    """DiT with alternating spatial (even) and temporal (odd) blocks; arguments as DiT."""

    graphs_per_size = 2  # in space and along time

    def run_blocks(self, x: Tensor, condition: Tensor, frames: Tensor) -> Tensor:
        """All blocks; frame positions are added before the first temporal one."""
        for index, block in enumerate(self.blocks):
            if index % 2 == 0:
                x = self.run_block(block, x, condition)
                continue
            if index == 1 and self.has_frame_positions:
                x = x + frames[:, :, None]
            by_place = x.transpose(1, 2).contiguous()  # [B, S, T, D]
            x = self.run_block(block, by_place, condition).transpose(1, 2).contiguous()
        return x

    def layer_counts(self) -> LayerCounts:
        """Layers of each kind: as DiT, with even blocks in a frame and odd ones along time."""
        depth = len(self.blocks)
        return replace(
            super().layer_counts(), joint=0, in_frame=-(-depth // 2), along_time=depth // 2
        )


register_model("Latte", Latte)
register_model("Latte-XL/2", Latte, depth=28, hidden_size=1152, patch_size=(1, 2, 2), num_heads=16)
register_model(
    "Latte-XL/2x2", Latte, depth=28, hidden_size=1152, patch_size=(2, 2, 2), num_heads=16
)
