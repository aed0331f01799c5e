"""RAFT through torchvision, with weights from a local file."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.optical_flow import raft_large, raft_small

from opensora.core.errors import CheckpointError
from opensora.models.weights.files import read_weights

STRIDE = 8  # sides must be multiples of it
MIN_SIDE_PX = 128  # of its correlation pyramid
_FIRST_CONV = "feature_encoder.convnormrelu.0.weight"


class Raft:
    """Optical flow between two frames.

    Args:
        path: weights of torchvision's raft_large or raft_small.
        device: where to compute.

    Raises:
        CheckpointError: the file holds neither.
    """

    def __init__(self, path: str | Path, device: str = "cpu") -> None:
        weights = read_weights(path)
        first = weights.get(_FIRST_CONV)
        # the small network starts with half the channels of the large one
        network = raft_small() if first is not None and len(first) == 32 else raft_large()
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(
                f"{path}: not the weights of torchvision's raft_large or raft_small"
            ) from error
        self._network = network.to(device).eval()
        self._device = device

    @torch.no_grad()
    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Flow float32 [H, W, 2] in pixels between uint8 frames [H, W, 3]."""
        height, width = first.shape[:2]
        flow = self._network(self._prepare(first), self._prepare(second))[-1][0]  # [2, H', W']
        return flow[:, :height, :width].permute(1, 2, 0).cpu().numpy()

    def _prepare(self, frame: np.ndarray) -> Tensor:
        """A frame as float32 [1, 3, H', W'] in [-1, 1], its edges repeated up to full strides."""
        pixels = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 127.5 - 1
        height, width = frame.shape[:2]
        padded = [max(MIN_SIDE_PX, -(-side // STRIDE) * STRIDE) for side in (height, width)]
        bounds = (0, padded[1] - width, 0, padded[0] - height)
        return functional.pad(pixels, bounds, mode="replicate").to(self._device)
