"""EfficientNet-Lite0 with random weights, under the names of the published file."""

from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

from opensora.models.efficientnet_lite import names_in_file


def save_features(path: Path) -> Path:
    torch.manual_seed(0)
    own = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    names = names_in_file(list(own))
    path.parent.mkdir(exist_ok=True)
    save_file({other: own[name].contiguous() for name, other in names.items()}, path)
    return path
