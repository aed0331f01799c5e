"""Transformers made for one video size: position tables stored with the weights."""

import math

from torch import Tensor

from opensora.models.layers.embeddings import Size3
from opensora.models.layers.positions import Device, spatial_table, temporal_table
from opensora.models.layers.transformer import VideoTransformer


class SizedTransformer(VideoTransformer):
    """Base of the transformers with stored position tables; other sizes get tables of their own."""

    def register_positions(
        self,
        input_size: Size3,
        *,
        space_name: str = "pos_embed",
        space_scale: float = 1.0,
        time_scale: float = 1.0,
        use_base_size: bool = False,
    ) -> None:
        """Make the tables of one latent size and keep them as buffers.

        Args:
            input_size: latent (T, H, W).
            space_name: name of the buffer of space; that of time is "pos_embed_temporal".
            space_scale: spatial coordinates are divided by it.
            time_scale: frame positions are divided by it.
            use_base_size: stretch both axes to the side of a square with as many tokens.

        Raises:
            ValueError: the channels can not hold sines and cosines of rows and columns.
        """
        if self.hidden_size % 4:
            raise ValueError(f"hidden_size {self.hidden_size} is not divisible by 4")
        self.input_grid = self.grid_size(input_size)
        self.space_name = space_name
        self.space_scale = space_scale
        self.time_scale = time_scale
        self.use_base_size = use_base_size
        self.register_buffer(space_name, self._space(self.input_grid))
        self.register_buffer("pos_embed_temporal", self._time(self.input_grid))

    def positions(self, grid: Size3) -> tuple[Tensor, Tensor]:
        """Tables of space [1, S, D] and of time [1, T, D] in the type of the weights.

        Args:
            grid: tokens (T, rows, columns).
        """
        space, time = self.get_buffer(self.space_name), self.get_buffer("pos_embed_temporal")
        if grid[1:] != self.input_grid[1:]:
            space = self._space(grid, space.device)
        if grid[0] != self.input_grid[0]:
            time = self._time(grid, time.device)
        return space.to(self.dtype), time.to(self.dtype)

    def _space(self, grid: Size3, device: Device = "cpu") -> Tensor:
        return spatial_table(
            *grid[1:],
            self.hidden_size,
            scale=self.space_scale,
            base_size=math.isqrt(grid[1] * grid[2]) if self.use_base_size else None,
            device=device,
        )

    def _time(self, grid: Size3, device: Device = "cpu") -> Tensor:
        return temporal_table(grid[0], self.hidden_size, scale=self.time_scale, device=device)
